package app

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/internal/api/apitest"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){"rota": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		stdio := OSStdio()
		if now, err := time.Parse(time.RFC3339, os.Getenv("NOW")); err == nil { // a script that lives on another day
			stdio.Now = func() time.Time { return now }
		}
		code := Main(ctx, os.Args[1:], stdio)
		stop()
		os.Exit(code)
	}})
}

// leakless fails tests that leave goroutines behind.
type leakless struct{ m *testing.M }

func (l leakless) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

type masterKey struct{}

// TestScripts runs the command line as people do. Each script has a server of its own, in front of a master in
// memory: a task named ok or fail ends as its name says as soon as it is run, any other when the script says so.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			m := apitest.New("n1", "n2")
			m.OnRun = ends
			const token = "rota_secret"
			srv := httptest.NewServer(api.New(api.Options{
				Master: m, Version: "test", Tokens: api.OneToken(token, api.Principal{Name: "admin", Role: api.RoleAdmin}),
			}))
			e.Defer(srv.Close)
			e.Values[masterKey{}] = m
			e.Setenv("ROTA_SERVER", srv.URL)
			e.Setenv("ROTA_TOKEN", token)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "finish": finish, "record": addRecord, "offline": offline, "backfills": finishBackfills, "interrupt": interrupt, "skew": skew, "watched": watched,
		},
	})
}

func ends(m *apitest.Master, h master.RunHandle) {
	switch h.Task.Name {
	case "ok":
		m.End(h.Run, job.Success, "all is well\n")
	case "fail":
		m.End(h.Run, job.Failed, "oh no\n")
	default:
		m.SetRunning(h.Run)
	}
}

func fake(ts *testscript.TestScript) *apitest.Master { return ts.Value(masterKey{}).(*apitest.Master) }

// exits CODE COMMAND… runs a command that must exit with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// finish OUTCOME OUTPUT ends every run that is alive.
func finish(ts *testscript.TestScript, _ bool, args []string) {
	m := fake(ts)
	list, err := m.Processes(context.Background(), master.JobFilter{})
	ts.Check(err)
	if len(list) == 0 {
		ts.Fatalf("nothing runs")
	}
	for _, p := range list {
		m.End(p.Run, job.Outcome(args[0]), args[1]+"\n")
	}
}

// record TASK OUTCOME OUTPUT adds a record.
func addRecord(ts *testscript.TestScript, _ bool, args []string) {
	ref, err := job.ParseRef(args[0])
	ts.Check(err)
	page, err := fake(ts).Records(context.Background(), job.RecordFilter{})
	ts.Check(err)
	fake(ts).Add(job.ExecutionRecord{
		ID: fmt.Sprintf("r%d", len(page.Records)), Group: ref.Group, Name: ref.Name, TaskID: ref.String(), Node: "n1",
		Outcome: job.Outcome(args[1]), Output: args[2] + "\n", OutputBytes: int64(len(args[2]) + 1), Trigger: job.TriggerTimer,
		Instant: apitest.Now, BeginTime: apitest.Now, EndTime: apitest.Now.Add(1e9), Attempt: 1,
	})
}

// offline NODE takes a node off line.
func offline(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(fake(ts).SetOnline(job.NodeID(args[0]), false))
}

// backfills OUTCOME ends every backfill.
func finishBackfills(ts *testscript.TestScript, _ bool, args []string) {
	fake(ts).FinishBackfills(job.Outcome(args[0]))
}

// interrupt interrupts the commands in the background once they wait.
func interrupt(ts *testscript.TestScript, _ bool, _ []string) {
	fake(ts).AwaitWatchers(1)
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(os.Interrupt))
	}
}

// watched N waits until so many commands in the background wait for something.
func watched(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	fake(ts).AwaitWatchers(n)
}

// skew NODE SECONDS sets a node's clock ahead.
func skew(ts *testscript.TestScript, _ bool, args []string) {
	seconds, err := strconv.ParseFloat(args[1], 64)
	ts.Check(err)
	fake(ts).SetSkew(job.NodeID(args[0]), seconds)
}
