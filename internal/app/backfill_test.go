package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// whole starts a whole program, and gives a client of it and a way to run commands against it.
func whole(t *testing.T, data string) (*Server, *client.Client, func(args ...string) (string, int)) {
	t.Helper()
	s, err := Start(t.Context(), ServerConfig{Role: RoleUp, Data: data, Listen: "127.0.0.1:0", Name: "n1", Lease: 2 * time.Second, LogLevel: "error"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.Options{Server: s.URL(), Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cl.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, cl, func(args ...string) (string, int) {
		var out, talk bytes.Buffer
		env := map[string]string{"ROTA_SERVER": s.URL(), "ROTA_DATA": data}
		code := Main(t.Context(), args, Stdio{In: strings.NewReader(""), Out: &out, Err: &talk, Env: func(k string) (string, bool) { v, ok := env[k]; return v, ok }})
		return out.String() + talk.String(), code
	}
}

// awaitBackfill follows a backfill to its end.
func awaitBackfill(t *testing.T, cl *client.Client, id string) *client.BackfillView {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events, stop := context.WithCancel(ctx)
	defer stop()
	seen := make(chan struct{}, 1)
	go func() {
		for _, err := range cl.Events(events) {
			if err != nil {
				return
			}
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	}()
	look := time.NewTicker(200 * time.Millisecond) // its document has no event of its own
	defer look.Stop()
	for {
		v, err := cl.BackfillState(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if v.Done() {
			return v
		}
		select {
		case <-seen:
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("it does not end: %+v", v)
		}
	}
}

// A backfill runs each instant of its range once, in order, with the instant in its environment; its records are not those
// of the timer. Asked for again it does nothing, forced it runs anew. It goes on when the program was stopped on the way.
func TestBackfillEndToEnd(t *testing.T) {
	t.Parallel()
	data, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	s, cl, rota := whole(t, data)
	ctx := t.Context()
	task := job.Task{
		Name: "report", Command: job.Line(fmt.Sprintf(`echo "$ROTA_INSTANT {{ params.MODE }}" >> %s; case $ROTA_INSTANT in *04:00:00Z) exit 3;; esac`, log)),
		Timer: "0 * * * *", Kind: "interval",
	}
	if _, err := cl.Apply(ctx, []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	ref := job.Ref("", "report")
	from := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	r := client.BackfillRequest{Task: ref, From: from, To: from.Add(6 * time.Hour), Params: map[string]string{"MODE": "x"}, Parallel: 1, Key: "k1"}
	dry := r
	dry.DryRun = true
	if a, err := cl.Backfill(ctx, dry); err != nil || len(a.Runs) != 6 || a.Backfill != nil {
		t.Fatalf("dry run: %+v %v", a, err)
	}
	a, err := cl.Backfill(ctx, r)
	if err != nil || !a.Created || len(a.Runs) != 6 || len(a.Skipped) != 0 {
		t.Fatalf("%+v %v", a, err)
	}
	v := awaitBackfill(t, cl, a.Backfill.ID)
	if v.State != client.BackfillFinished || v.Ended != 6 || v.Outcomes[job.Success] != 5 || v.Outcomes[job.Failed] != 1 {
		t.Errorf("%+v", v)
	}
	want := ""
	for i := range 6 {
		want += from.Add(time.Duration(i)*time.Hour).Format(time.RFC3339) + " x\n"
	}
	if got, err := os.ReadFile(log); err != nil || string(got) != want {
		t.Errorf("%v, runs\n%swant\n%s", err, got, want)
	}
	page, err := cl.Records(ctx, job.RecordFilter{Task: "report", Trigger: job.TriggerBackfill})
	if err != nil || len(page.Records) != 6 {
		t.Fatalf("%d records, %v", len(page.Records), err)
	}
	for i, rec := range page.Records {
		if at := from.Add(time.Duration(5-i) * time.Hour); !rec.Instant.Equal(at) || rec.Node != "n1" || !strings.Contains(rec.Cause, v.ID) {
			t.Errorf("record %d: %s", i, rec)
		}
	}
	if recs, err := s.history.Settled(ctx, ref, from.Add(-time.Hour), from.Add(6*time.Hour)); err != nil || len(recs) != 0 {
		t.Errorf("they count as those of the timer: %v %v", recs, err)
	}

	// The same again is nothing; another key runs what failed; with force all of it.
	if a, err := cl.Backfill(ctx, r); err != nil || a.Created || len(a.Runs) != 0 || len(a.Skipped) != 6 {
		t.Errorf("%+v %v", a, err)
	}
	r.Key = "k2"
	if a, err = cl.Backfill(ctx, r); err != nil || len(a.Runs) != 1 || !a.Runs[0].Instant.Equal(from.Add(4*time.Hour)) {
		t.Fatalf("%+v %v", a, err)
	}
	awaitBackfill(t, cl, a.Backfill.ID)
	out, code := rota("run", "report", "--from", "2026-01-10", "--to", "2026-01-10 06:00", "--parallel", "3", "--force", "--set", "MODE=y", "--wait", "-o", "json")
	if code != exitFailed || !strings.Contains(out, `"success": 5`) {
		t.Errorf("exit %d: %s", code, out)
	}

	// Stopped on the way, it goes on with the next start, and nothing runs twice.
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	r.Key, r.Parallel, r.Force, r.From, r.To = "k3", 2, true, from.Add(24*time.Hour), from.Add(44*time.Hour)
	if a, err = cl.Backfill(ctx, r); err != nil || len(a.Runs) != 20 {
		t.Fatalf("%d runs, %v", len(a.Runs), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, cl, rota = whole(t, data)
	v = awaitBackfill(t, cl, a.Backfill.ID)
	if v.Ended != 20 || v.State != client.BackfillFinished {
		t.Errorf("%+v", v)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(got)) {
		if seen[line]++; seen[line] > 1 {
			t.Errorf("ran twice: %s", line)
		}
	}
	if n := len(seen); n < 18 { // what was alive when it stopped was killed, perhaps before its first word
		t.Errorf("%d ran", n)
	}

	// What it says of itself.
	for _, c := range [][]string{
		{"get backfills", "k", a.Backfill.ID, "finished", "20/20"},
		{"why report 2026-01-10T04:30:00Z", "", "did not exist then"},
		{"delete backfill " + a.Backfill.ID, "", "deleted"},
	} {
		out, code := rota(strings.Fields(c[0])...)
		for _, want := range c[2:] {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("rota %s: exit %d, %s", c[0], code, out)
			}
		}
	}
	for args, want := range map[string]string{
		"run report --from 2020-01-01 --to 2025-01-01": "more than 10000 instants",
		"run report --from 2026-01-01 --to 2099-01-01": "yet to come",
		"run report --from 2026-01-02 --to 2026-01-01": "is empty",
		"run report --to 2026-01-01":                   "--from",
		"run report --from 2026-01-01 --node n9":       "no such node",
	} {
		if out, code := rota(strings.Fields(args)...); code == 0 || !strings.Contains(out, want) {
			t.Errorf("rota %s: exit %d, %s", args, code, out)
		}
	}
}

// Cancelled, a backfill starts nothing more; killed, it ends what runs too.
func TestBackfillCancelled(t *testing.T) {
	t.Parallel()
	_, cl, rota := whole(t, t.TempDir())
	ctx := t.Context()
	begun := filepath.Join(t.TempDir(), "begun")
	task := job.Task{Name: "long", Command: job.Line("echo x >> " + begun + "; exec sleep 600"), Timer: "0 * * * *"}
	if _, err := cl.Apply(ctx, []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	a, err := cl.Backfill(ctx, client.BackfillRequest{Task: job.Ref("", "long"), From: from, To: from.Add(4 * time.Hour)})
	if err != nil || len(a.Runs) != 4 || a.Runs[0].Node != "n1" {
		t.Fatalf("%+v %v", a, err)
	}
	v, err := cl.RunState(ctx, a.Runs[0].Run)
	for ; err == nil && v.Process == nil || job.IsNotFound(err); v, err = cl.RunState(ctx, a.Runs[0].Run) {
		if ctx.Err() != nil {
			t.Fatal("it does not begin")
		}
	}
	if out, code := rota("delete", "backfill", a.Backfill.ID); code != 0 || !strings.Contains(out, "1 run is under way") {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := rota("kill", a.Backfill.ID); code != 0 || !strings.Contains(out, "asked to end") {
		t.Errorf("exit %d: %s", code, out)
	}
	b := awaitBackfill(t, cl, a.Backfill.ID)
	if b.State != client.BackfillCancelled || b.CancelledBy == "" || b.Outcomes[job.Killed] != 1 || b.Ended != 1 {
		text, _ := json.Marshal(b)
		t.Errorf("%s", text)
	}
	if text, err := os.ReadFile(begun); err != nil || string(text) != "x\n" {
		t.Errorf("%q %v", text, err)
	}
}
