//go:build linux

package guard

import (
	"strconv"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// keeper keeps an execution of the agent's own in its slot.
type keeper struct {
	x *execution
	s *stash
	e *job.Exec
}

var _ runner.Keeper = keeper{}

func (k keeper) Admit() bool { return k.s.admit(k.x) }

func (k keeper) Keep(legacy runner.Legacy, stdout, stderr int) bool {
	d := deposit{ID: k.x.id, Legacy: legacy, Exec: job.Exec{
		Run: k.e.Run, Attempt: k.e.Attempt, Timeout: k.e.Timeout, Grace: k.e.Grace, OutputLimit: k.e.OutputLimit, ResultFrom: k.e.ResultFrom, Note: k.e.Note,
	}}
	b, err := k.s.encode.Marshal(&d)
	return err == nil && len(b) <= maxDeposit && k.x.own.at.put(b, stdout, stderr)
}

// Born notes the process. Where that fails, which takes a kernel that is out of memory, the guard looks for it in the control group.
func (k keeper) Born(pid, pidfd int) { k.x.own.at.put([]byte(strconv.Itoa(pid)), pidfd) }

func (k keeper) Outgrown(lent *runner.Lent) {
	l := k.x.l
	l.mu.Lock()
	defer l.mu.Unlock()
	k.x.own.lent = lent
	k.s.handOver(k.x)
}

func (k keeper) Ended(lent *runner.Lent) {
	k.x.identify(lent.Pid(), 0)
	k.x.finish(lent.Exit())
}

func (k keeper) Reaped(used job.Usage) { k.x.used(used) }

// used notes what an execution of the agent's own used, which its parent alone is told.
func (x *execution) used(used job.Usage) {
	x.mu.Lock()
	x.own.reaped, x.own.used = true, used
	exit := x.own.exit
	x.mu.Unlock()
	if exit != nil {
		x.told(*exit)
	}
}

// told is told by the guard how an execution ended. Of one of the agent's own it waits for what that used.
func (x *execution) told(exit job.Exit) {
	if x.own != nil && exit.EndedBy != job.EndedByLoss {
		x.mu.Lock()
		if !x.own.reaped {
			x.own.exit = &exit
			x.mu.Unlock()
			return
		}
		u := x.own.used
		exit.Usage.UserMS, exit.Usage.SystemMS = max(exit.Usage.UserMS, u.UserMS), max(exit.Usage.SystemMS, u.SystemMS)
		exit.Usage.MaxRSSKB = max(exit.Usage.MaxRSSKB, u.MaxRSSKB)
		x.mu.Unlock()
	}
	x.finish(exit)
}
