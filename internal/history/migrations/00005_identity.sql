-- Which history this is. A copy of it (see copy.go) is the same one.

-- +goose Up
CREATE TABLE history_identity (
    name  TEXT NOT NULL PRIMARY KEY, -- id; copy_of: a copy that is not finished; moved_to: where masters find it now
    value TEXT NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE history_identity;
