//go:build linux

package guard

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// ownSteps are those at which an agent dies that executes a run itself. TestKilledAtEachStep has the others.
var ownSteps = []string{
	"before the deposit", "before the fork", "before the pidfd", "before the pidfd, and the run has ended", "with the pidfd",
	"before the output is read", "before the spool", "in the hand-over", "after the hand-over",
}

// mortalKeeper lets its agent die at a step.
type mortalKeeper struct {
	keeper
	at func(step string)
	of func(step string) bool // it will be that one
}

func (k mortalKeeper) Keep(l runner.Legacy, stdout, stderr int) bool {
	k.at(ownSteps[0])
	ok := k.keeper.Keep(l, stdout, stderr)
	k.at(ownSteps[1])
	return ok
}

func (k mortalKeeper) Born(pid, pidfd int) {
	k.at(ownSteps[2])
	for k.of(ownSteps[3]) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" Z ")) {
			k.at(ownSteps[3])
		}
		time.Sleep(time.Millisecond)
	}
	k.keeper.Born(pid, pidfd)
	k.at(ownSteps[4])
}

func (k mortalKeeper) Reaped(used job.Usage) {
	k.at(ownSteps[5])
	k.keeper.Reaped(used)
}

func (k mortalKeeper) Ended(x *runner.Lent) {
	k.at(ownSteps[6])
	k.keeper.Ended(x)
}

// mortally executes a run as the stash does, up to the step at which it dies.
func mortally(ctx context.Context, c *Client, e job.Exec, step, traces string, at func(string)) error {
	c.mu.Lock()
	l := c.current
	c.mu.Unlock()
	l.mu.Lock()
	s := l.stash
	l.mu.Unlock()
	x, err := s.enter(&e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	s.armed = true // nobody looks how old it is
	l.mu.Unlock()
	if err := s.begin(ctx, x, e, mortalKeeper{keeper{x, s, &e}, at, func(one string) bool { return one == step }}); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(traces, "up")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	l.mu.Lock()
	switch step {
	case ownSteps[7]:
		x.own.lent.HandOver()
		at(step)
	case ownSteps[8]:
		s.handOver(x)
		at(step)
	}
	l.mu.Unlock()
	<-x.Done()
	return fmt.Errorf("no such step: %q", step)
}

// An agent that executes a run itself is killed at each step of it: what is in the stash by then is the guard's, and from a slot that was emptied nobody
// takes a run up again (that is "after the release" of TestKilledAtEachStep).
func TestOwnRunsOfAKilledAgent(t *testing.T) {
	newOwner(t, "")
	killed(t, []death{
		{step: ownSteps[0]}, // the spool alone has it, as where the guard was not asked yet
		// Nothing was executed, and there is no trace of a process by which the guard could see that: the agent might have forked.
		{step: ownSteps[1], found: true, lost: true},
		{step: ownSteps[2], found: true, ran: true, gated: true}, // found in its control group
		// Its exit status went to whoever adopted it, and nobody held a pidfd that would tell it: there is nothing left that could be asked. What it
		// wrote is in its pipes.
		{step: ownSteps[3], found: true, ran: true, lost: true},
		{step: ownSteps[4], found: true, ran: true, gated: true},
		{step: ownSteps[5], found: true, ran: true},
		{step: ownSteps[6], found: true, ran: true},
		{step: ownSteps[7], found: true, ran: true, gated: true},
		{step: ownSteps[8], found: true, ran: true, gated: true},
	}, true)
}

// What needs more than its agent does for young runs goes to the guard at once.
func TestWhatIsTheGuardsFromTheBeginning(t *testing.T) {
	for name, e := range map[string]job.Exec{
		"tied":            {Tied: time.Hour},
		"limits":          {Limits: job.Limits{OpenFiles: 64}},
		"a short timeout": {Timeout: leastTimeout - 1},
		"a long note":     {Note: make([]byte, maxDeposit)},
		"another way":     {Way: &job.Way{}},
	} {
		if ordinary(&e) {
			t.Errorf("the agent executes itself what has %s", name)
		}
	}
	if e := (job.Exec{Timeout: time.Second, User: "nobody", Stdin: []byte("x"), ResultFrom: job.Stdout, Note: make([]byte, 4096)}); !ordinary(&e) {
		t.Error("an ordinary run is the guard's")
	}
}

// Descriptors of the stash are nobody's but the agent's and the guard's: a run has three.
func TestOwnRunsHaveThreeDescriptors(t *testing.T) {
	c := newOwner(t, "")
	x := start(t, c, job.Exec{Run: run1, Attempt: 1, Argv: []string{"/bin/ls", "/proc/self/fd"}, Dir: "/"})
	out := string(ended(t, x).Output)
	if strings.Join(strings.Fields(out), " ") != "0 1 2 3" { // the last one is of the listing
		t.Errorf("%q", out)
	}
	x.Release()
}
