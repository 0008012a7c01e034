package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// A list of values is read as lines or as objects; what is wrong in it is told with its line.
func TestReadEach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, "list="+strconv.Itoa(len(text)))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		source, stdin, key string
		want               []client.ListedRun
		wrong              string
	}{
		{source: "DAY=-", stdin: "a b\n\n  \nc=d\r\n", want: []client.ListedRun{{Params: map[string]string{"X": "1", "DAY": "a b"}}, {Params: map[string]string{"X": "1", "DAY": "c=d"}}}},
		{source: "X=-", stdin: "2", key: "k", want: []client.ListedRun{{Params: map[string]string{"X": "2"}, Key: "k/1"}}},
		{source: "-", stdin: `{"A": 1.50, "B": true, "C": "x"}` + "\n{}\n", want: []client.ListedRun{{Params: map[string]string{"X": "1", "A": "1.50", "B": "true", "C": "x"}}, {Params: map[string]string{"X": "1"}}}},
		{source: file(`{"X": "y"}`), want: []client.ListedRun{{Params: map[string]string{"X": "y"}}}},
		{source: "DAY=" + file("one\ntwo"), want: []client.ListedRun{{Params: map[string]string{"X": "1", "DAY": "one"}}, {Params: map[string]string{"X": "1", "DAY": "two"}}}},
		{source: "-", stdin: "{}\nnothing\n", wrong: "line 2: it is no JSON object"},
		{source: "-", stdin: `{"A": [1]}`, wrong: "line 1: A is no string"},
		{source: "-", stdin: `{"A": 1} {"A": 2}`, wrong: "line 1: something follows"},
		{source: "DAY=-", stdin: "\n\n", wrong: "there is nothing in it"},
		{source: "DAY=/nowhere/at/all", wrong: "no such file"},
	} {
		f := eachFlags{source: c.source}
		got, err := f.read(&cli{Stdio: Stdio{In: strings.NewReader(c.stdin)}}, map[string]string{"X": "1"}, c.key)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s of %q: %v", c.source, c.stdin, err)
			}
			continue
		}
		if a, b := asText(t, got), asText(t, c.want); err != nil || a != b {
			t.Errorf("%s of %q: %s, %v, want %s", c.source, c.stdin, a, err, b)
		}
	}
}

func asText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// More lines than one request takes: each of them runs once, and the exit code tells that one of them failed.
func TestRunEach(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s, cl, rota := whole(t, data)
	log := filepath.Join(t.TempDir(), "log")
	task := job.Task{
		Name: "note", Command: job.Line(`echo {{ params.N }} >> ` + log + `; test {{ params.N }} != 7`), Params: map[string]job.Param{"N": {Type: job.ParamInt, Required: true}},
	}
	if _, err := cl.Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the task is bound", func() bool { v, err := cl.Task(t.Context(), task.Ref()); return err == nil && len(v.Nodes) == 1 })
	const n = eachChunk + 20
	var lines bytes.Buffer
	for i := range n {
		lines.WriteString(strconv.Itoa(i) + "\n")
	}
	each := func(args ...string) int {
		var out, talk bytes.Buffer
		env := map[string]string{"ROTA_SERVER": s.URL(), "ROTA_DATA": data}
		stdio := Stdio{In: bytes.NewReader(lines.Bytes()), Out: &out, Err: &talk, Env: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
		code := Main(t.Context(), append([]string{"run", "note"}, args...), stdio)
		if want := fmt.Sprintf("%d runs of %s are asked for", n, task.Ref()); !strings.Contains(talk.String(), want) {
			t.Errorf("%q is not said in: %.300s", want, talk.String())
		}
		return code
	}
	if code := each("--each", "N=-", "--parallel", "8", "--wait", "--key", "k"); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if code := each("--each", "N=-", "--wait", "--key", "k"); code != exitFailed { // asked for already
		t.Errorf("exit %d", code)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, f := range strings.Fields(string(text)) {
		i, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i)
	}
	slices.Sort(got)
	if len(got) != n || len(slices.Compact(got)) != n {
		t.Errorf("%d runs of %d", len(got), n)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--each", "N=-", "--follow"}, "--wait"},
		{[]string{"--each", "N=-", "--force"}, "--force"},
		{[]string{"--each", "N=-", "--from", "7d"}, "backfill"},
		{[]string{"--each", "N=-", "--parallel", "-1"}, "negative"},
		{[]string{"--each", "M=" + log}, "each[0].params.M"},
		{[]string{"--each", "N=-"}, "nothing in it"},
	} {
		if out, code := rota(append([]string{"run", "note"}, c.args...)...); code == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d: %s", c.args, code, out)
		}
	}
}

// As that of the history (TestTheLockGoesWithTheHistory).
func TestTheLockGoesWithTheDataFolder(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(d.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = openDataDir(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
