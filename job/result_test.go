package job

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Where a task wants it, its result says whether a run succeeded; one that says nothing, or nothing that is understood, has failed.
func TestSuccessByResult(t *testing.T) {
	one := 1
	exited := Exit{Outcome: Success, EndedBy: EndedByExit}
	failed := Exit{Outcome: Failed, EndedBy: EndedByExit, ExitCode: &one, Reason: "exit code 1"}
	for _, c := range []struct {
		name   string
		exit   Exit
		result string
		want   Outcome
		reason string
	}{
		{"success", exited, `{"exec_status": "Success"}`, Success, ""},
		{"in small letters", exited, `{"exec_status": "success"}`, Success, ""},
		{"failure", exited, `{"exec_status": "Failure"}`, Failed, "exec_status Failure"},
		{"its exit code does not count", failed, `{"exec_status": "Success"}`, Success, ""},
		{"nor does it hide the result", failed, `{"exec_status": "Failure"}`, Failed, "exit code 1; its result says"},
		{"no result", exited, "", Failed, "handed back no result"},
		{"no status", exited, `{"type": "check"}`, Failed, "no exec_status"},
		{"another status", exited, `{"exec_status": "Perhaps"}`, Failed, `"Perhaps"; want Success or Failure`},
		{"another form", exited, `[1]`, Failed, "not of the known form"},
		{"null", exited, `null`, Failed, "not of the known form"},
		{"its time was over", Exit{Outcome: Timeout, EndedBy: EndedByTimeout, Reason: "late"}, `{"exec_status": "Success"}`, Timeout, "late"},
		{"it was killed", Exit{Outcome: Killed, EndedBy: EndedByKill, Reason: "by ann"}, `{"exec_status": "Success"}`, Killed, "by ann"},
		{"it had no memory", Exit{Outcome: Failed, EndedBy: EndedByOOM, Reason: "oom"}, `{"exec_status": "Success"}`, Failed, "oom"},
		{"it never began", Exit{Outcome: Failed, Reason: "no such file"}, "", Failed, "no such file"},
	} {
		x := c.exit
		x.Result = json.RawMessage(c.result)
		if SuccessExit.Judge(&x); x.Outcome != c.exit.Outcome || x.Reason != c.exit.Reason {
			t.Errorf("%s: by its exit it is %s (%s)", c.name, x.Outcome, x.Reason)
		}
		SuccessResult.Judge(&x)
		if x.Outcome != c.want || !strings.Contains(x.Reason, c.reason) || (x.Reason == "") != (c.reason == "") {
			t.Errorf("%s: %s (%s), want %s (%s)", c.name, x.Outcome, x.Reason, c.want, c.reason)
		}
	}
	x := exited
	x.ResultError = "it is not JSON"
	if SuccessResult.Judge(&x); x.Outcome != Failed || !strings.Contains(x.Reason, "it is not JSON") {
		t.Errorf("a result that can't be read: %s (%s)", x.Outcome, x.Reason)
	}
}

func TestUnknownFieldsOfAResult(t *testing.T) {
	res, unknown, err := ReadResult(json.RawMessage(`{"global": {"A": "1"}, "Type": "check", "body": {"any": 1}, "next_task": ["x"],
		"conditions": [{"type": "T", "status": "True", "message": "m"}, {"message": "n"}]}`))
	if want := []string{"conditions.message", "next_task"}; err != nil || !slices.Equal(unknown, want) {
		t.Errorf("unknown %q, want %q; %v", unknown, want, err)
	}
	if err == nil && (res.Global["A"] != "1" || res.Type != "check" || len(res.Conditions) != 2) {
		t.Errorf("read %+v", res)
	}
}

// What is written out of habit, and says what holds anyway, is no change of a task.
func TestSuccessByExitIsTheDefault(t *testing.T) {
	a := Task{Name: "a", Command: Line("x"), Success: SuccessExit}
	b := Task{Name: "a", Command: Line("x")}
	a.Complete()
	b.Complete()
	if err := a.Valid(); err != nil || !a.Equal(&b) {
		t.Errorf("%+v is not %+v; %v", a, b, err)
	}
	a.Success = "maybe"
	if err := a.Valid(); err == nil || !strings.Contains(err.Error(), "want exit or result") {
		t.Errorf("%v", err)
	}
}
