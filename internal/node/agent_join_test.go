package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// A node that starts again takes over from its dead self at once; without its folder it waits for the lease.
func TestTakeOver(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		w.until(5 * time.Second)
		dir := a.crash()
		b := w.start("n1", dir)
		w.until(5100 * time.Millisecond)
		if b.lease.Load() == nil {
			t.Fatal("it waits for the lease of its dead self")
		}
		b.crash()
		c := w.start("n1", "")
		w.until(10 * time.Second)
		if c.lease.Load() != nil {
			t.Error("it took over from a life that it knows nothing of")
		}
		w.until(20 * time.Second)
		if c.lease.Load() == nil {
			t.Error("it does not take over")
		}
		c.stop()
		if _, err := os.Stat(filepath.Join(c.Dir, "session")); !os.IsNotExist(err) {
			t.Error("the session of a life that left in order is kept")
		}
		if n := w.mem.Leases(); n != 0 { // ancestor 6
			t.Errorf("%d leases are left", n)
		}
	})
}

// The twin of a live node refuses to run, and fires nothing until then; so does one whose name was taken while it was away.
func TestNameInUse(t *testing.T) { // ancestor 51
	inWorld(t, func(w *world) {
		a := w.start("n1", "")
		w.put(newJob(t, "a", "* * * * * *"))
		w.until(time.Second)
		twin := w.start("n1", "")
		<-twin.done
		if !job.IsConflict(twin.err) || !strings.Contains(twin.err.Error(), "n1") {
			t.Errorf("the twin says: %v", twin.err)
		}
		if n := len(twin.runner.started()); n > 0 {
			t.Errorf("the twin ran %d instants", n)
		}
		w.mem.Cut(a.client)
		w.until(60 * time.Second)
		w.start("n1", "")
		w.until(80 * time.Second)
		w.mem.Heal(a.client)
		<-a.done
		if !job.IsConflict(a.err) {
			t.Errorf("it says: %v", a.err)
		}
	})
}

// A node that can't be registered as it is says so, and does not try for ever.
func TestInvalidNode(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "", func(o *Options) { o.Labels = map[string]string{"a b": ""} })
		<-a.done
		if job.CodeOf(a.err) != job.CodeInvalid {
			t.Errorf("it says: %v", a.err)
		}
	})
}

// What people set on a node stays; what the agent tells is renewed.
func TestRegister(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("n1", "", func(o *Options) { o.Labels = map[string]string{"role": "db"}; o.Facts.CPUs = 2 })
		synctest.Wait()
		n, err := w.admin.Nodes().Get(context.Background(), "n1")
		if err != nil || n.Labels["role"] != "db" || n.Facts.CPUs != 2 {
			t.Fatalf("%+v, %v", n, err)
		}
		n.Labels["zone"], n.Cordoned = "a", true
		w.do(store.PutNode(n))
		a.stop()
		b := w.start("n1", a.Dir, func(o *Options) { o.Labels = map[string]string{"role": "web"} })
		synctest.Wait()
		n, err = w.admin.Nodes().Get(context.Background(), "n1")
		if err != nil || n.Labels["role"] != "web" || n.Labels["zone"] != "a" || !n.Cordoned || n.Facts.CPUs != 0 {
			t.Errorf("%+v, %v", n, err)
		}
		if self := b.self.Load(); self.Labels["zone"] != "a" {
			t.Errorf("it does not know what people set: %+v", self)
		}
	})
}
