package chaos

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// life is what a run wrote about itself. Times without a zone are those of the clock that all processes share and nobody sets, in nanoseconds.
type life struct {
	task, instant, run string // an instant of "-": there is none
	node               job.NodeID
	fence              int64
	begins             int // how often it was executed
	begin, last        int64
	wall               time.Time // when it began
	ended              bool
	overlapped         bool // another process held its task when it began
}

// readJournal gathers the lives in a journal, in the order of their beginnings.
func readJournal(path string) ([]*life, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []*life
	byRun := map[string]*life{}
	for text := range strings.Lines(string(b)) {
		var what, task, instant, node, run string
		var fence, at, wall int64
		if n, err := fmt.Sscan(text, &what, &task, &instant, &node, &run, &fence, &at, &wall); err != nil {
			return nil, fmt.Errorf("the journal has the line %q, of which %d words are understood: %w", text, n, err)
		}
		l := byRun[run]
		if l == nil {
			l = &life{task: task, instant: instant, run: run, node: job.NodeID(node), fence: fence}
			byRun[run], list = l, append(list, l)
		}
		l.last = max(l.last, at)
		switch what {
		case "begin":
			if l.begins++; l.begins == 1 {
				l.begin, l.wall = at, time.Unix(0, wall)
			}
		case "end":
			l.ended = true
		case "overlap":
			l.overlapped = true
		}
	}
	list = slices.DeleteFunc(list, func(l *life) bool { return l.begins == 0 }) // it was killed before it could say that it began
	slices.SortStableFunc(list, func(a, b *life) int { return int(a.begin - b.begin) })
	return list, nil
}
