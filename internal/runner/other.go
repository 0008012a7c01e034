//go:build !linux

package runner

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/rota-dev/rota/job"
)

// Runner does not exist here: process trees, sub-reapers and pidfds are Linux's.
type Runner struct{}

var errSystem = errors.New("runs are executed on Linux only, and this is " + runtime.GOOS + "; run the node on Linux")

// New always fails.
func New(Options) (*Runner, error) { return nil, errSystem }

// Start always fails.
func (*Runner) Start(context.Context, job.Exec) (job.Execution, error) { return nil, errSystem }

// Hold does nothing.
func (*Runner) Hold(time.Duration) {}

// KillAll does nothing.
func (*Runner) KillAll(string) {}

// Close does nothing.
func (*Runner) Close() error { return nil }

// BootID is empty.
func BootID() string { return "" }

// SinceBoot is zero.
func SinceBoot() time.Duration { return 0 }

// StartTicks always fails.
func StartTicks(int) (uint64, error) { return 0, errSystem }

// Resolved is what an execution comes to on this machine.
type Resolved struct {
	User    string
	UID     int
	Command string
	Dir     string
}

// Resolve always fails.
func Resolve(job.Exec, bool, bool) (Resolved, error) { return Resolved{}, errSystem }
