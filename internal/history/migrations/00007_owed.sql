-- Records of instants that a node which is away owes yield to what the node says of them itself.

-- +goose Up
ALTER TABLE records ADD COLUMN owed INTEGER NOT NULL DEFAULT 0; -- 1: it has such instants
CREATE INDEX records_owed ON records (task, node, until) WHERE owed = 1;
ALTER TABLE tasks ADD COLUMN owing INTEGER NOT NULL DEFAULT 0; -- 1: it has had such records

-- +goose Down
DROP INDEX records_owed;
ALTER TABLE records DROP COLUMN owed;
ALTER TABLE tasks DROP COLUMN owing;
