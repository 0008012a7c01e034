//go:build linux

package runner

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// leftoverPatience is how long EndLeftover waits for processes to die of SIGKILL.
const leftoverPatience = 10 * time.Second

// EndLeftover kills the tree of a process that an earlier life of the agent started, at once and whole, and returns when
// nobody of it is left. startTicks tell that process from another that has its number now, which is not
// touched; so nothing happens, and there is no error, where the process has ended. run is its ROTA_RUN. The boot must
// be the same, which the caller knows by [BootID].
func EndLeftover(pid int, startTicks uint64, run string) error {
	if pid <= 1 || pid == os.Getpid() || run == "" {
		return fmt.Errorf("end leftover process %d of run %s: that is no process of a run", pid, run)
	}
	root, err := readProc(pid, make([]byte, 0, statSize))
	if err != nil || root.start != startTicks || root.dead() {
		return nil
	}
	t := &tree{
		log: slog.New(slog.DiscardHandler), root: root, marker: "ROTA_RUN=" + run,
		list: processes, other: func(int) bool { return false }, members: map[int]uint64{}, beyond: map[int]uint64{},
	}
	ctx, cancel := context.WithTimeout(context.Background(), leftoverPatience)
	defer cancel()
	t.look()
	if gone := t.kill(ctx.Done()); !gone || len(t.beyond) > 0 || t.blind {
		return fmt.Errorf("end leftover process %d of run %s: %d of its processes are still alive, %d of them beyond the agent's rights",
			pid, run, len(t.alive)+len(t.beyond), len(t.beyond))
	}
	return nil
}
