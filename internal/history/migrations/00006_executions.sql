-- Executions of groups, when they have ended.

-- +goose Up
CREATE TABLE executions (
    seq     INTEGER PRIMARY KEY,
    id      TEXT    NOT NULL UNIQUE,
    grp     TEXT    NOT NULL,
    status  TEXT    NOT NULL,
    began   INTEGER NOT NULL, -- microseconds since 1970, as below
    ended   INTEGER NOT NULL,
    instant INTEGER,
    brief   BLOB    NOT NULL, -- JSON: what a list shows
    body    BLOB    NOT NULL  -- JSON: all of it
);
CREATE INDEX executions_ended ON executions (ended, seq);
CREATE INDEX executions_group ON executions (grp, ended, seq);
CREATE INDEX executions_status ON executions (grp, status, ended, seq);
CREATE INDEX executions_all_status ON executions (status, ended, seq);

-- +goose Down
DROP TABLE executions;
