//go:build !linux

package runlog

import (
	"context"
	"os"
)

// tryLock always succeeds: runs are executed on Linux alone, and logs elsewhere are those of nobody who is alive.
func tryLock(*os.File, bool) bool { return true }

type watch struct{}

func newWatch(string) *watch { return &watch{} }

func (*watch) wait(ctx context.Context) error { return sleep(ctx, lookAgainOld) }

func (*watch) close() {}
