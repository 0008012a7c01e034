package history

import (
	"context"
	"database/sql"

	"github.com/google/uuid"

	"github.com/rota-dev/rota/job"
)

// What history_identity may say.
const (
	identityID = "id"
	copyOf     = "copy_of"
	movedTo    = "moved_to"
)

// ID is the history's own, whatever database it is in: masters of one cluster tell by it that they share one. It is given once,
// and goes along with a copy.
func (d *DB) ID() string { return d.id }

// identify reads which history this is, and gives one that is new its id. One that was moved, or that is not whole yet, is refused.
func (d *DB) identify(ctx context.Context) error {
	var about map[string]string
	err := d.change(ctx, "read which history this is", func(ctx context.Context, tx *sql.Tx) (err error) {
		if about, err = d.about(ctx, tx); err != nil || about[identityID] != "" || about[copyOf] != "" {
			return err
		}
		q := d.query("INSERT INTO history_identity (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", identityID, uuid.NewString())
		if _, err = q.exec(ctx, tx); err != nil {
			return err
		}
		about, err = d.about(ctx, tx) // another master may have been first
		return err
	})
	switch {
	case err != nil:
		return err
	case about[copyOf] != "":
		return job.Errorf(job.CodeConflict, "the copy of a history into this database is not finished").WithHint("finish it: rota history copy")
	case about[movedTo] != "":
		return job.Errorf(job.CodeConflict, "this history was moved to %s", about[movedTo]).WithHint("start masters with that one as --db")
	}
	d.id = about[identityID]
	return nil
}

func (d *DB) about(ctx context.Context, r runner) (map[string]string, error) {
	about := map[string]string{}
	err := d.query("SELECT name, value FROM history_identity").each(ctx, r, func(rows *sql.Rows) error {
		var name, value string
		err := rows.Scan(&name, &value)
		about[name] = value
		return err
	})
	return about, err
}

// noteAbout writes what is to be said of a history.
func (d *DB) noteAbout(ctx context.Context, r runner, name, value string) error {
	_, err := d.query("INSERT INTO history_identity (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value).exec(ctx, r)
	return err
}
