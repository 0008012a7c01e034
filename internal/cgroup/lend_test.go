//go:build linux

package cgroup

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// A leaf that another process's tree made is seen, measured and ended by its directory, and goes with the one that inherited it.
func TestInherit(t *testing.T) {
	maker, heir := open2(t), open2(t)
	leaf, err := maker.Take(job.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !leaf.Whole() || leaf.Dir() == "" {
		t.Fatalf("%+v", leaf)
	}
	leaf.Charge(time.Second, 2*time.Second)
	leaf.Charge(time.Second, time.Second)
	if got := leaf.Charged(); got.User != 2*time.Second || got.System != 3*time.Second {
		t.Errorf("%+v", got)
	}
	cmd := in(t, leaf, "echo; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 600")
	dir := leaf.Dir()
	leaf.Give()
	its := heir.Inherit(dir, Usage{})
	if its.Whole() {
		t.Error("a run can be born in it")
	}
	eventually(t, "it counts", func() bool { return its.Usage().User > 0 })
	used := its.Usage()
	if later := heir.Inherit(dir, Usage{User: used.User + time.Hour}); later.Usage().User != 0 {
		t.Errorf("what others used is counted: %+v", later.Usage())
	} else {
		later.close()
	}
	if pids := its.Processes(); len(pids) == 0 || pids[0] != cmd.Process.Pid || !its.Populated() {
		t.Errorf("%v are in it, and not %d", pids, cmd.Process.Pid)
	}
	its.Release() // somebody is in it: it is removed later
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	its.Kill()
	_ = cmd.Wait()
	eventually(t, "it is removed", func() bool {
		heir.Kept()
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

// A leaf whose maker has removed it has nobody in it, also for whoever inherited it before.
func TestAnInheritedLeafThatIsGone(t *testing.T) {
	maker, heir := open2(t), open2(t)
	leaf, err := maker.Take(job.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	its := heir.Inherit(leaf.Dir(), Usage{})
	leaf.Give()
	if err := os.Remove(leaf.Dir()); err != nil {
		t.Fatal(err)
	}
	if its.Populated() || its.Events() < 0 {
		t.Error("somebody seems to be in it")
	}
	its.Release()
	if n := heir.Kept(); n > 0 {
		t.Errorf("%d are kept", n)
	}
	var none *Tree
	if l := none.Inherit("/x", Usage{}); l != nil || l.Whole() || l.Dir() != "" || l.Charged() != (Usage{}) {
		t.Error("without groups there is a leaf")
	}
}

// Whoever opens a tree while others sweep what is left gets one.
func TestOpenDuringSweeps(t *testing.T) {
	tree := open2(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				sweep(filepath.Dir(tree.v2.dir))
			}
		}
	}()
	for range 300 {
		one := Open(slog.New(slog.DiscardHandler))
		if one.v2 == nil {
			t.Error("there is no group of version 2: ", one.why)
		}
		one.Close()
	}
	close(stop)
	<-done
}
