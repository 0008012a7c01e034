package cluster_test

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
	"github.com/rota-dev/rota/test/harness"
)

// journal is where jobs write what they do: the only witness that a judgement trusts.
type journal struct{ path string }

func newJournal(t *testing.T) *journal {
	return &journal{filepath.Join(t.TempDir(), "journal")}
}

// command is a shell line that notes its beginning and its end, with a pause in between.
func (j *journal) command(pause string) job.Command {
	return job.Line(fmt.Sprintf(`echo "begin $ROTA_TASK ${ROTA_INSTANT:--} $ROTA_NODE $ROTA_RUN $(date +%%s.%%N)" >> %[1]s; sleep %[2]s; echo "end $ROTA_TASK ${ROTA_INSTANT:--} $ROTA_NODE $ROTA_RUN $(date +%%s.%%N)" >> %[1]s`, j.path, pause))
}

// line is one line of the journal.
type line struct {
	what, task, instant, node, run string
	at                             float64
}

func (j *journal) lines(t *testing.T) []line {
	t.Helper()
	f, err := os.Open(j.path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []line
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) != 6 {
			t.Fatalf("the journal has the line %q", sc.Text())
		}
		l := line{what: w[0], task: w[1], instant: w[2], node: w[3], run: w[4]}
		if _, err := fmt.Sscan(w[5], &l.at); err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

// judgement is what must hold of a claimed task between two times.
type judgement struct {
	task     job.TaskRef
	timer    string
	from, to time.Time
}

// judge checks that every instant has exactly one outcome in history, that no instant began twice, and that history
// says of none that it ran, or did not, against what the jobs wrote down.
func (j *journal) judge(t *testing.T, c *client.Client, v judgement) {
	t.Helper()
	s, err := schedule.Parse(v.timer, schedule.Options{})
	if err != nil {
		t.Fatal(err)
	}
	began := map[string]int{}
	for _, l := range j.lines(t) {
		if l.what == "begin" && l.task == v.task.Name && l.instant != "-" {
			began[l.instant]++
		}
	}
	for instant, n := range began {
		if n > 1 {
			t.Errorf("%s: instant %s began %d times", v.task, instant, n)
		}
	}
	all := history(t, c, v.task)
	outcomes := map[job.Outcome]int{}
	for i := s.Next(v.from); !i.IsZero() && !i.After(v.to); i = s.Next(i) {
		recs := harness.Covering(all, i)
		if len(recs) != 1 {
			t.Errorf("%s: instant %s has %d records: %v", v.task, i.Format(time.RFC3339), len(recs), recs)
			continue
		}
		outcomes[recs[0].Outcome]++
		ran := began[job.FormatInstant(i)] > 0
		switch o := recs[0].Outcome; {
		case ran && (o == job.Missed || o == job.Skipped):
			t.Errorf("%s: instant %s ran, but history says %s", v.task, i.Format(time.RFC3339), o)
		case !ran && (o == job.Success || o == job.Failed):
			t.Errorf("%s: instant %s did not run, but history says %s", v.task, i.Format(time.RFC3339), o)
		}
	}
	t.Logf("%s: %v", v.task, outcomes)
}

// history reads all records of a task.
func history(t *testing.T, c *client.Client, ref job.TaskRef) []job.ExecutionRecord {
	t.Helper()
	list, err := harness.Records(t.Context(), c, ref)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// overlaps lists the runs of a task that were alive at the same time. A run without an end was killed with its agent, and
// its end is not known: it is left out.
func (j *journal) overlaps(t *testing.T, task string) []string {
	t.Helper()
	type span struct{ begin, end float64 }
	spans := map[string]*span{}
	for _, l := range j.lines(t) {
		if l.task != task {
			continue
		}
		if l.what == "begin" {
			spans[l.run] = &span{begin: l.at}
		} else if s := spans[l.run]; s != nil {
			s.end = l.at
		}
	}
	runs := slices.SortedFunc(maps.Keys(spans), func(a, b string) int {
		if spans[a].begin < spans[b].begin {
			return -1
		}
		return 1
	})
	var found []string
	last := ""
	for _, r := range runs {
		if spans[r].end == 0 {
			continue
		}
		if last != "" && spans[r].begin < spans[last].end {
			found = append(found, fmt.Sprintf("%s began before %s had ended", r, last))
		}
		last = r
	}
	return found
}

// judgeCommon checks that every node accounts for every instant of a common task exactly once. A node that was killed
// in the middle of a run may not know how it ended, but says so.
func (j *journal) judgeCommon(t *testing.T, c *client.Client, ref job.TaskRef, nodes []job.NodeID, from, to time.Time) {
	t.Helper()
	s, err := schedule.Parse(every, schedule.Options{})
	if err != nil {
		t.Fatal(err)
	}
	byNode := map[job.NodeID][]job.ExecutionRecord{}
	for _, r := range history(t, c, ref) {
		byNode[r.Node] = append(byNode[r.Node], r)
	}
	outcomes := map[job.Outcome]int{}
	for _, n := range nodes {
		for i := s.Next(from); !i.IsZero() && !i.After(to); i = s.Next(i) {
			recs := harness.Covering(byNode[n], i)
			if len(recs) != 1 {
				t.Errorf("%s on %s: instant %s has %d records: %v", ref, n, i.Format(time.RFC3339), len(recs), recs)
				continue
			}
			outcomes[recs[0].Outcome]++
		}
	}
	t.Logf("%s: %v", ref, outcomes)
}
