-- Of what people are told.

-- +goose Up

-- The class of the record when people were last told of it, or had not to be: it counts once for each outcome that it had.
ALTER TABLE records ADD COLUMN alerted INTEGER;

-- How things stand with what people are told of (see package internal/notify, whose the state is).
CREATE TABLE alerts (
    name    TEXT    NOT NULL PRIMARY KEY,
    state   BLOB    NOT NULL, -- JSON
    due     INTEGER,          -- when it is to be looked at again; null: only when something happens
    version INTEGER NOT NULL, -- counts the changes, from 1
    changed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX alerts_due ON alerts (due) WHERE due IS NOT NULL;
CREATE INDEX alerts_changed ON alerts (changed);

-- Messages, a row for each receiver.
CREATE TABLE deliveries (
    seq      INTEGER PRIMARY KEY, -- in this order they are sent
    id       TEXT    NOT NULL UNIQUE,
    receiver TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    task     TEXT    NOT NULL,
    node     TEXT    NOT NULL,
    event    TEXT    NOT NULL,
    record   TEXT    NOT NULL,
    status   TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    next_at  INTEGER, -- null: there is no further attempt
    done_at  INTEGER, -- null while it waits
    answer   TEXT    NOT NULL,
    summary  TEXT    NOT NULL, -- the message that stands for it
    message  BLOB    NOT NULL  -- JSON
);
CREATE INDEX deliveries_due ON deliveries (next_at, seq) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_done ON deliveries (receiver, status, done_at);
CREATE INDEX deliveries_of_all ON deliveries (created, seq);
CREATE INDEX deliveries_of_receiver ON deliveries (receiver, created, seq);
CREATE INDEX deliveries_of_task ON deliveries (task, created, seq);
CREATE INDEX deliveries_of_status ON deliveries (status, created, seq);

-- +goose Down
DROP TABLE deliveries;
DROP TABLE alerts;
ALTER TABLE records DROP COLUMN alerted;
