-- Which stream each part of an output came from, and when.

-- +goose Up
ALTER TABLE record_bodies ADD COLUMN parts BLOB; -- JSON

-- +goose Down
ALTER TABLE record_bodies DROP COLUMN parts;
