-- One text for both databases. In SQLite, INTEGER has 64 bits, and INTEGER PRIMARY KEY numbers itself; for
-- PostgreSQL the words INTEGER and BLOB are translated (see migrate.go). Times are microseconds since 1970, UTC.

-- +goose Up

-- A row for each task that ever had a record. It is the lock under which the task's records are written, and
-- holds what would otherwise have to be counted. The counters are of all time: pruning does not lower them.
CREATE TABLE tasks (
    id           INTEGER PRIMARY KEY,
    grp          TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    numbers      INTEGER NOT NULL DEFAULT 0, -- the last number that was given to a record
    latest       INTEGER,                    -- seq of the record with the newest end
    latest_ended INTEGER,
    success      INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    timeout      INTEGER NOT NULL DEFAULT 0,
    killed       INTEGER NOT NULL DEFAULT 0,
    lost         INTEGER NOT NULL DEFAULT 0,
    skipped      INTEGER NOT NULL DEFAULT 0,
    missed       INTEGER NOT NULL DEFAULT 0,
    success_us   INTEGER NOT NULL DEFAULT 0, -- how long the runs that succeeded took, summed
    UNIQUE (name, grp)
);

-- A task on a node, as far as records know of it. It also remembers, for ever, where a task succeeded.
CREATE TABLE jobs (
    id        INTEGER PRIMARY KEY,
    task      INTEGER NOT NULL,
    node      TEXT    NOT NULL,
    job_id    TEXT    NOT NULL,
    succeeded INTEGER NOT NULL DEFAULT 0,
    UNIQUE (task, node, job_id)
);
CREATE INDEX jobs_by_job_id ON jobs (job_id);
CREATE INDEX jobs_by_node ON jobs (node, task);

-- class is outcome and trigger in one number (see class.go).
CREATE TABLE records (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    task       INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    job        INTEGER NOT NULL,
    grp        TEXT    NOT NULL,
    node       TEXT    NOT NULL,
    class      INTEGER NOT NULL,
    began      INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    instant    INTEGER,          -- null for a run that was asked for
    until      INTEGER,          -- the last instant of several
    instants   INTEGER NOT NULL, -- how many share the record, as it says
    handled_at INTEGER,          -- null while its effects have not happened
    stored_at  INTEGER NOT NULL, -- by the clock of the master
    detail     BLOB    NOT NULL  -- JSON: what a list shows besides
);
CREATE UNIQUE INDEX records_by_number ON records (task, number);
CREATE INDEX records_by_instant ON records (task, instant) WHERE instant IS NOT NULL;
CREATE INDEX records_by_until ON records (task, until) WHERE until IS NOT NULL;
CREATE INDEX records_of_all ON records (class, ended, seq);
CREATE INDEX records_of_group ON records (grp, class, ended, seq);
CREATE INDEX records_of_task ON records (task, class, ended, seq);
CREATE INDEX records_of_node ON records (node, class, ended, seq);
CREATE INDEX records_of_job ON records (job, class, ended, seq);

-- What lists leave out: bytes as they came, of any value.
CREATE TABLE record_bodies (
    seq      INTEGER PRIMARY KEY,
    output   BLOB,
    result   BLOB,
    attempts BLOB -- JSON
);

-- +goose Down
DROP TABLE record_bodies;
DROP TABLE records;
DROP TABLE jobs;
DROP TABLE tasks;
