package job_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

func TestLimitsAreWrittenAsPeopleDo(t *testing.T) {
	t.Parallel()
	file := `tasks:
  - name: a
    command: [x]
    limits: {memory: 1.5GiB, cpu: 1.5, cpu_weight: 50, processes: 64, open_files: 1024, file_size: 10MB, nice: -5, umask: 0027}
  - {name: b, command: [x], limits: {memory: 1048576}}
`
	tasks, err := job.ReadTasks("t.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := job.Limits{
		Memory: 3 << 29, CPU: 1.5, CPUWeight: 50, Processes: 64, OpenFiles: 1024, FileSize: 10_000_000, Nice: -5, Umask: "0027",
	}
	if tasks[0].Limits != want || tasks[1].Limits != (job.Limits{Memory: 1 << 20}) {
		t.Errorf("got %+v, %+v", tasks[0].Limits, tasks[1].Limits)
	}
	const canonical = `{"memory":"1536MiB","cpu":1.5,"cpu_weight":50,"processes":64,"open_files":1024,"file_size":"10000000","nice":-5,"umask":"0027"}`
	if b, err := json.Marshal(want); err != nil || string(b) != canonical {
		t.Errorf("got %s, %v", b, err)
	}
	if got := strings.Join(want.Names(), " "); got != "memory cpu cpu_weight processes open_files file_size nice umask" {
		t.Errorf("got %s", got)
	}
	if mode, ok := want.Umask.Mode(); mode != 0o27 || !ok {
		t.Errorf("got %o, %v", mode, ok)
	}
	if _, ok := job.Umask("").Mode(); ok {
		t.Error("no mask is one")
	}
}

func TestLimitsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	file := `tasks:
  - name: a
    command: [x]
    limits: {memory: 4KiB, cpu: -1, cpu_weight: 10001, processes: -2, open_files: 2, nice: 20}
  - name: b
    command: [x]
    limits: {memory: lots, umask: "0888", file_size: 9999999TiB}
`
	_, err := job.ReadTasks("t.yaml", []byte(file))
	if job.CodeOf(err) != job.CodeInvalid {
		t.Fatal(err)
	}
	for _, want := range []string{
		"t.yaml:4:22: tasks[0].limits.memory: memory 4KiB is not between 1MiB and 1EiB", "limits.cpu: cpu -1 is not between 0.01 and 10000",
		"limits.cpu_weight: cpu_weight 10001 is not between 1 and 10000", "limits.processes: processes -2 is not",
		"limits.open_files: open_files 2 is not between 3", "limits.nice: nice 20 is not between -20 and 19",
		`limits.memory: "lots" is not a size`, `limits.umask: "0888" is not a umask`, `limits.file_size: "9999999TiB" is not a size`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	if err := (job.Limits{CPU: math.NaN()}).Valid(); err == nil {
		t.Error("NaN cores are valid")
	}
	if err := (job.Limits{Nice: 10}).Valid(); err != nil {
		t.Error(err)
	}
}

func TestSizesComeBack(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]job.Size{
		"0": 0, "7": 7, "7B": 7, "1KiB": 1024, "1 kib": 1024, "2KB": 2000, "1.5MiB": 3 << 19, "3gb": 3e9, "1TiB": 1 << 40, "1PiB": 1 << 50,
	} {
		if got, err := job.ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "1K", "KiB", ".", "1.2.3MiB", "1XB", "1Kib b", "1  KB", "1e3", "0x10", "9223372036854775808", "8192PiB"} {
		if got, err := job.ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := job.Size(rapid.Int64Range(0, math.MaxInt64).Draw(t, "size")) << rapid.IntRange(0, 62).Draw(t, "shift") & math.MaxInt64
		if back, err := job.ParseSize(s.String()); err != nil || back != s {
			t.Fatalf("%d became %s became %d, %v", s, s, back, err)
		}
	})
}

// A job carries the limits of its task, also through its wire form.
func TestAJobHasTheLimitsOfItsTask(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		task := validTasks.Draw(t, "task")
		task.Limits = limits.Draw(t, "limits")
		if err := task.Valid(); err != nil {
			t.Fatal(err)
		}
		j := job.Bind(&job.TaskEntry{Task: task, Generation: 1}, "n", nil, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))
		var back job.Job
		if err := back.Decode([]byte(j.String())); err != nil || back.Limits != task.Limits {
			t.Fatalf("%+v became %+v, %v", task.Limits, back.Limits, err)
		}
	})
}

// limits are valid.
var limits = rapid.Custom(func(t *rapid.T) job.Limits {
	return job.Limits{
		Memory: job.Size(rapid.SampledFrom([]int64{0, 1 << 20, 1<<29 + 1, 10_000_000}).Draw(t, "memory")), CPU: rapid.SampledFrom([]float64{0, 0.25, 2}).Draw(t, "cpu"),
		CPUWeight: rapid.IntRange(0, 10_000).Draw(t, "cpu_weight"), Processes: rapid.IntRange(0, 100).Draw(t, "processes"),
		OpenFiles: rapid.SampledFrom([]int{0, 3, 1024}).Draw(t, "open_files"), FileSize: job.Size(rapid.IntRange(0, 1<<30).Draw(t, "file_size")),
		Nice: rapid.IntRange(-20, 19).Draw(t, "nice"), Umask: rapid.SampledFrom([]job.Umask{"", "0000", "0027", "0777"}).Draw(t, "umask"),
	}
})
