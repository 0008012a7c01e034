//go:build linux

package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/rota-dev/rota/internal/cgroup"
)

// leftoverPatience is how long EndLeftover waits for processes to die of SIGKILL.
const leftoverPatience = 10 * time.Second

// EndLeftover kills the tree of a process that an earlier life of the agent started, at once and whole, and returns when
// nobody of it is left. startTicks tell that process from another that has its number now, which is not
// touched; so nothing happens, and there is no error, where the process has ended. run is its ROTA_RUN. The boot must
// be the same, which the caller knows by [BootID].
//
// Who has left its session and its group is known by its ROTA_RESULT, which no other agent of the machine gives its runs; by its ROTA_RUN
// where the process itself shows none. With a pid of 0 the process is not known: then everything that carries the run's ROTA_RUN is ended, with
// what descends from it.
func EndLeftover(pid int, startTicks uint64, run string) error {
	if pid == 0 && run != "" {
		return endTree(proc{pid: -1}, run, "ROTA_RUN="+run)
	}
	if pid <= 1 || pid == os.Getpid() || run == "" {
		return fmt.Errorf("end leftover process %d of run %s: that is no process of a run", pid, run)
	}
	root, err := readProc(pid, make([]byte, 0, statSize))
	if alive := err == nil && root.start == startTicks && !root.dead(); !alive {
		return nil
	}
	return endTree(root, run, cmp.Or(entry(pid, "ROTA_RESULT="), "ROTA_RUN="+run))
}

func endTree(root proc, run, marker string) error {
	t := &tree{
		log: slog.New(slog.DiscardHandler), root: root, marker: marker,
		list: processes, other: func(int) bool { return false }, members: map[int]uint64{}, beyond: map[int]uint64{},
	}
	ctx, cancel := context.WithTimeout(context.Background(), leftoverPatience)
	defer cancel()
	t.look()
	if t.leaf = cgroup.LeafOf(root.pid); t.leaf == nil && len(t.alive) > 0 {
		t.leaf = cgroup.LeafOf(t.alive[0].pid)
	}
	if gone := t.kill(ctx.Done()); !gone || t.left() > 0 || t.blind {
		return fmt.Errorf("end leftover process %d of run %s: %d of its processes are still alive, %d of them beyond the agent's rights",
			root.pid, run, len(t.alive)+t.left(), t.left())
	}
	return nil
}

// RemoveResults removes what a runner that died left in its directory.
func RemoveResults(dir string) error {
	err := (&results{dir: dir}).clean()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
