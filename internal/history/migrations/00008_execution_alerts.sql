-- That people were told of an execution.

-- +goose Up
ALTER TABLE executions ADD COLUMN alerted INTEGER NOT NULL DEFAULT 0; -- 1: they were, or nobody had to be

-- +goose Down
ALTER TABLE executions DROP COLUMN alerted;
