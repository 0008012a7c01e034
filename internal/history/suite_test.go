package history

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openTest(t testing.TB) *DB {
	d, err := Open(context.Background(), filepath.Join(t.TempDir(), "h.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestSmoke(t *testing.T) {
	d := openTest(t)
	ctx := context.Background()
	var recs []job.ExecutionRecord
	for i := range 2500 {
		recs = append(recs, sample(i, 7, 3))
	}
	st, err := d.Insert(ctx, recs)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(st[0], recs[8].Number)
	st, err = d.Insert(ctx, recs[:10])
	t.Log(st, err)
	p, err := d.Records(ctx, job.RecordFilter{Limit: 3, Node: "node-1", Group: "group-1", Outcome: []job.Outcome{job.Failed, job.Missed}, WithOutput: true})
	t.Log(p, err)
	l, err := d.Latest(ctx)
	t.Log(len(l), err)
	s, err := d.Settled(ctx, job.Ref("group-1", "task-1"), epoch, epoch.Add(10*time.Second))
	t.Log(len(s), err)
	x, err := d.Stats(ctx, job.Ref("group-1", "task-1"))
	t.Log(x, err)
	n, err := d.Succeeded(ctx, job.Ref("group-1", "task-1"))
	t.Log(n, err)
	k, err := d.Prune(ctx, job.Retention{MaxPerTask: 5}, time.Now().Add(2*time.Hour))
	t.Log(k, err)
	k, err = d.Prune(ctx, job.Retention{MaxAge: 5}, time.Now().Add(2*time.Hour))
	t.Log(k, err)
}
