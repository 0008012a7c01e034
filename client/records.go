package client

import (
	"context"
	"iter"
	"strconv"
	"time"

	"github.com/rota-dev/rota/job"
)

// Records reads a page of records, newest first.
func (c *Client) Records(ctx context.Context, f job.RecordFilter) (job.Page, error) {
	var out job.Page
	r := get(&out, "records").set("group", f.Group).set("task", f.Task).set("node", string(f.Node)).set("job", f.JobID)
	r.set("trigger", string(f.Trigger)).set("since", stamp(f.Since)).set("until", stamp(f.Until))
	r.set("search", f.Search).set("limit", number(f.Limit)).set("cursor", f.Cursor)
	for _, o := range f.Outcome {
		r.set("outcome", string(o))
	}
	if f.WithOutput {
		r.set("output", "true")
	}
	return out, c.do(ctx, r)
}

// EachRecord yields the records that a filter selects, newest first, page by page; Limit is the size of a page. An error is
// the last thing it yields.
func (c *Client) EachRecord(ctx context.Context, f job.RecordFilter) iter.Seq2[job.ExecutionRecord, error] {
	return func(yield func(job.ExecutionRecord, error) bool) {
		for {
			page, err := c.Records(ctx, f)
			if err != nil {
				yield(job.ExecutionRecord{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(r, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			f.Cursor = page.Next
		}
	}
}

// Stats sums up records: one element without a division, else one for each day, node or task.
func (c *Client) Stats(ctx context.Context, f job.StatsFilter) ([]job.Stats, error) {
	var out []job.Stats
	r := get(&out, "stats").set("group", f.Group).set("task", f.Task).set("node", string(f.Node)).set("by", string(f.By))
	return out, c.do(ctx, r.set("since", stamp(f.From)).set("until", stamp(f.To)))
}

// Record reads one record, with its output.
func (c *Client) Record(ctx context.Context, id string) (*job.ExecutionRecord, error) {
	return one[job.ExecutionRecord](ctx, c, get(nil, "records", id))
}

// RecordByNumber reads the record that people call by its task and number: nightly-backup#142.
func (c *Client) RecordByNumber(ctx context.Context, ref job.TaskRef, n int64) (*job.ExecutionRecord, error) {
	return one[job.ExecutionRecord](ctx, c, get(nil, "tasks", ref.Group, ref.Name, "records", strconv.FormatInt(n, 10)))
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
