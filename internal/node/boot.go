package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rota-dev/rota/job"
)

// boot is one boot of the machine, as the agent's folder remembers it.
type boot struct {
	ID string    `json:"id"` // the kernel's name for it
	At time.Time `json:"at"` // whole seconds: the instant of @reboot
}

// bootInstant is the instant of the present boot: when the machine booted, as the first agent to start since then saw it. Later
// ones read it from the folder, so that neither a restart of the agent nor a clock that was set since makes another
// instant of it. It is later than that of any boot before. Zero where the machine does not tell.
func bootInstant(dir, id string, at time.Time) (time.Time, error) {
	if id == "" || at.IsZero() {
		return time.Time{}, nil
	}
	file := filepath.Join(dir, "boot")
	var last boot
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, &last) == nil && last.ID == id {
		return last.At, nil
	}
	now := boot{ID: id, At: at.UTC().Truncate(time.Second)}
	if !now.At.After(last.At) {
		now.At = last.At.Add(time.Second)
	}
	b, err := json.Marshal(now)
	if err != nil {
		return time.Time{}, err
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o600); err != nil {
		return time.Time{}, fmt.Errorf("remember the boot: %w", err)
	}
	return now.At, nil
}

// booted is the job as this boot of the node has it: one with @reboot is due at the boot's instant, if it was the node's by
// then. The instant is dealt with like any other, and the spool remembers that it was.
func (a *Agent) booted(j *job.Job) *job.Job {
	if j.Kind.Claimed() || j.Rules == nil {
		return j
	}
	r := j.Rules.AtBoot(a.boot)
	if r == j.Rules {
		return j
	}
	c := *j
	c.Rules = r
	return &c
}
