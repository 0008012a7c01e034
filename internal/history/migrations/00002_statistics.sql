-- +goose Up

-- Summaries of the records of a day, in UTC: of a task, and of a task on a node. body is written and read by
-- summary.go. They outlive the records.
CREATE TABLE task_days (
    task INTEGER NOT NULL,
    day  INTEGER NOT NULL, -- days since 1970
    body BLOB    NOT NULL,
    PRIMARY KEY (task, day)
) WITHOUT ROWID;
CREATE TABLE node_days (
    task INTEGER NOT NULL,
    day  INTEGER NOT NULL,
    node TEXT    NOT NULL, -- empty: records in which no node had a part
    body BLOB    NOT NULL,
    PRIMARY KEY (task, node, day)
) WITHOUT ROWID;

-- 0 for a task whose records are not in the summaries yet.
ALTER TABLE tasks ADD COLUMN summed INTEGER NOT NULL DEFAULT 0;

-- How much a record takes (see encode.go), and all of a task's.
ALTER TABLE records ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE records SET bytes = 400 + LENGTH(detail) + COALESCE(
    (SELECT COALESCE(LENGTH(b.output), 0) + COALESCE(LENGTH(b.result), 0) + COALESCE(LENGTH(b.attempts), 0) FROM record_bodies b WHERE b.seq = records.seq), 0);
UPDATE tasks SET bytes = COALESCE((SELECT SUM(r.bytes) FROM records r WHERE r.task = tasks.id), 0);

-- +goose Down
DROP TABLE node_days;
DROP TABLE task_days;
ALTER TABLE tasks DROP COLUMN summed;
ALTER TABLE tasks DROP COLUMN bytes;
ALTER TABLE records DROP COLUMN bytes;
