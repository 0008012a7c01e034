package history

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// TestMain runs the tests, or is the child process of one of them.
func TestMain(m *testing.M) {
	if role := os.Getenv("HISTORY_TEST_CHILD"); role != "" {
		os.Exit(child(role, os.Getenv("HISTORY_TEST_DSN")))
	}
	_ = flag.Set("rapid.checks", "40") // what -rapid.checks says is read later
	goleak.VerifyTestMain(m)
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// quiet are the options of most tests: nothing is too young to be pruned.
var quiet = Options{Grace: -1}

func openSQLite(t testing.TB, opt Options) *DB {
	t.Helper()
	return mustOpen(t, filepath.Join(t.TempDir(), "history.db"), opt)
}

func mustOpen(t testing.TB, dsn string, opt Options) *DB {
	t.Helper()
	d, err := Open(context.Background(), dsn, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestContractOnSQLite(t *testing.T) {
	t.Parallel()
	contract(t, func(t *testing.T, opt Options) *DB { return openSQLite(t, opt) })
}

// contract is what every database must hold. fresh opens an empty history.
func contract(t *testing.T, fresh func(t *testing.T, opt Options) *DB) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, d *DB)
	}{
		{"every field of a record comes back", testRoundTrip},
		{"any bytes come back", testAnyBytes},
		{"a record is stored once", testIdempotent},
		{"a later word supersedes as the table says", testSupersede},
		{"a superseding record is read anew everywhere", testSupersedeViews},
		{"numbers are dense under concurrent writers", testNumbers},
		{"a bad record is named and a big one is cut", testBadRecords},
		{"pages miss and repeat nothing", testPaging},
		{"filters select what they say", testFilters},
		{"searches find what is there", testSearch},
		{"a long search goes on by its cursor", testLongSearch},
		{"settled instants are those of the records", testSettled},
		{"statistics equal a recount", testTally},
		{"statistics are made of older records", testSumUp},
		{"latest is the newest of each task", testLatest},
		{"pruning keeps what it must", testPrune},
		{"no statement reads a table from end to end", testPlans},
		{"pruning by size removes the oldest", testPruneSize},
		{"pruning keeps what is held", testPruneHeld},
		{"statistics outlive the records", testPruneStats},
		{"pruning and writing at once", testPruneWhileWriting},
		{"handled is noted once", testHandled},
		{"executions are kept once, listed and pruned", testExecutions},
		{"a mark is for the outcome that was handled", testHandledBySomebodyElse},
		{"what a node owes yields to its own word", testOwed},
		{"told is what can be relied on", testTold},
		{"people are told of a record once", testAlerts},
		{"errors have codes", testErrors},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, fresh(t, quiet))
		})
	}
	t.Run("what was stored a moment ago is not pruned", func(t *testing.T) {
		t.Parallel()
		testGrace(t, fresh(t, Options{Now: func() time.Time { return epoch }}))
	})
}

// record makes a record of a task that ended at a time.
func record(ref job.TaskRef, id string, o job.Outcome, end time.Time) job.ExecutionRecord {
	return job.ExecutionRecord{
		ID: id, Group: ref.Group, Name: ref.Name, TaskID: ref.String(), Outcome: o, Success: o == job.Success, Trigger: job.TriggerTimer,
		BeginTime: end.Add(-time.Second), EndTime: end, Attempt: 1,
	}
}

func insert(t testing.TB, d *DB, recs ...job.ExecutionRecord) []bool {
	t.Helper()
	stored, err := d.Insert(context.Background(), recs)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func list(t testing.TB, d *DB, f job.RecordFilter) []job.ExecutionRecord {
	t.Helper()
	p, err := d.Records(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	return p.Records
}

// all reads every page.
func all(t testing.TB, d *DB, f job.RecordFilter) []string {
	t.Helper()
	var ids []string
	for {
		p, err := d.Records(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			ids = append(ids, r.ID)
		}
		if f.Cursor = p.Next; f.Cursor == "" {
			return ids
		}
	}
}

func wantCode(t testing.TB, err error, code job.Code) {
	t.Helper()
	if job.CodeOf(err) != code {
		t.Fatalf("got the error %v (code %q), want the code %q", err, job.CodeOf(err), code)
	}
}

func wantSame(t testing.TB, what string, got, want any) {
	t.Helper()
	g, w := asJSON(t, got), asJSON(t, want)
	if g != w {
		t.Fatalf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func asJSON(t testing.TB, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sorted(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return ids
}

func name(prefix string, i int) string { return fmt.Sprintf("%s-%04d", prefix, i) }
