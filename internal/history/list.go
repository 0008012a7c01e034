package history

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/rota-dev/rota/job"
)

// What a page may hold.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// manyJobs is up to how many jobs a node's list within a group is read job by job; beyond, the node's
// records are read and those of other groups passed over.
const manyJobs = 64

// Records implements [job.History]. A page costs about what it shows, whatever the history holds: see prefix.
// Records that come in while somebody pages appear before the cursor or not at all.
func (d *DB) Records(ctx context.Context, f job.RecordFilter) (job.Page, error) {
	from, err := parseCursor(f.Cursor)
	if err != nil {
		return job.Page{}, err
	}
	if len(f.Search) > MaxSearch {
		return job.Page{}, job.Errorf(job.CodeInvalid, "the text to search for has %d bytes, at most %d are allowed", len(f.Search), MaxSearch)
	}
	limit := f.Limit
	switch {
	case limit <= 0:
		limit = defaultLimit
	case limit > maxLimit:
		limit = maxLimit
	}
	page := job.Page{Records: []job.ExecutionRecord{}}
	err = d.call(ctx, "list records", func(ctx context.Context) error {
		p, some, err := d.choose(ctx, f)
		if err != nil || !some {
			return err
		}
		w := window{from: from, limit: limit + 1, since: math.MinInt64, keep: func(class int64) bool { return classMatches(class, f) }}
		if !f.Since.IsZero() {
			w.since = ceilMicros(f.Since)
		}
		if until := (place{ceilMicros(f.Until), math.MinInt64}); !f.Until.IsZero() && from.before(until) {
			w.from = until
		}
		if f.Search != "" {
			w.limit = limit
			return d.search(ctx, p, w, f, &page)
		}
		keys, err := d.walk(ctx, d.read, p, w)
		if err != nil {
			return err
		}
		if len(keys) > limit {
			keys = keys[:limit]
			page.Next = keys[limit-1].cursor()
		}
		page.Records, err = d.fetch(ctx, keys, f.WithOutput)
		return err
	})
	if err != nil {
		return job.Page{}, err
	}
	return page, nil
}

// prefix says whose records a list is about, by the index that has them together: (column, class, ended, seq),
// or (class, ended, seq) where there is no column. It may name several of a kind, such as the jobs of a node.
type prefix struct {
	column string // task, job, node, grp or none
	values []any
	group  string // pass over those of other groups
}

// choose finds the index for a filter. some is false where the filter names what has no records.
func (d *DB) choose(ctx context.Context, f job.RecordFilter) (p prefix, some bool, err error) {
	switch {
	case f.JobID != "" || f.Node != "" && f.Task != "":
		p, err = d.jobsOf(ctx, f, math.MaxInt32)
	case f.Task != "":
		q := d.query("SELECT id FROM tasks WHERE name = ?", f.Task)
		if f.Group != "" {
			q.add(" AND grp = ?", f.Group)
		}
		p, err = d.ids(ctx, "task", q)
	case f.Node != "" && f.Group != "":
		p, err = d.jobsOf(ctx, f, manyJobs+1)
		if len(p.values) > manyJobs {
			p = prefix{column: "node", values: []any{string(f.Node)}, group: f.Group}
		}
	case f.Node != "":
		return prefix{column: "node", values: []any{string(f.Node)}}, true, nil
	case f.Group != "":
		return prefix{column: "grp", values: []any{f.Group}}, true, nil
	default:
		return prefix{}, true, nil
	}
	return p, len(p.values) > 0, err
}

// jobsOf finds the jobs that a filter names.
func (d *DB) jobsOf(ctx context.Context, f job.RecordFilter, limit int) (prefix, error) {
	q := d.query("SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task WHERE 1 = 1")
	for _, c := range []struct{ column, value string }{{"j.job_id", f.JobID}, {"j.node", string(f.Node)}, {"t.name", f.Task}, {"t.grp", f.Group}} {
		if c.value != "" {
			q.add(" AND "+c.column+" = ?", c.value)
		}
	}
	return d.ids(ctx, "job", q.add(" LIMIT ?", int64(limit)))
}

func (d *DB) ids(ctx context.Context, column string, q *query) (prefix, error) {
	p := prefix{column: column}
	err := q.each(ctx, d.read, func(rows *sql.Rows) error {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		p.values = append(p.values, id)
		return nil
	})
	return p, err
}

// fetch reads the records at places, in their order.
func (d *DB) fetch(ctx context.Context, keys []place, body bool) ([]job.ExecutionRecord, error) {
	at := make(map[int64]int, len(keys))
	for i, k := range keys {
		at[k.seq] = i
	}
	recs := make([]job.ExecutionRecord, len(keys))
	err := chunks(len(keys), maxLimit, func(from, to int) error {
		seqs := make([]int64, 0, to-from)
		for _, k := range keys[from:to] {
			seqs = append(seqs, k.seq)
		}
		q := d.selectRecords(body).add(" WHERE r.seq")
		return in(q, seqs).each(ctx, d.read, func(rows *sql.Rows) error {
			rec, seq, err := scanRecord(rows, body)
			if err == nil {
				recs[at[seq]] = rec
			}
			return err
		})
	})
	// A record that was pruned between the two reads is not shown.
	return slices.DeleteFunc(recs, func(r job.ExecutionRecord) bool { return r.ID == "" }), err
}

// selectRecords begins a statement that scanRecord reads.
func (d *DB) selectRecords(body bool) *query {
	if body {
		return d.query("SELECT " + recordColumns + bodyColumns + " FROM records r" + recordJoins + bodyJoin)
	}
	return d.query("SELECT " + recordColumns + " FROM records r" + recordJoins)
}
