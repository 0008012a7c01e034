package app

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestIdleMemory(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name        string
		before, now heap
		least       uint64
		want        bool
	}{
		{"nothing was ever collected", heap{0, 0, 400 * mb}, heap{0, 0, 400 * mb}, 0, false},
		{"there was work", heap{3, 100 * mb, 400 * mb}, heap{4, 100 * mb, 400 * mb}, 0, false},
		{"much more than is needed", heap{3, 100 * mb, 400 * mb}, heap{3, 100 * mb, 400 * mb}, 0, true},
		{"a little more than is needed", heap{3, 300 * mb, 431 * mb}, heap{3, 300 * mb, 431 * mb}, 0, false},
		{"scattered", heap{3, 100 * mb, 230 * mb}, heap{3, 100 * mb, 230 * mb}, 180 * mb, false},
		{"much more than what was scattered", heap{3, 100 * mb, 300 * mb}, heap{3, 100 * mb, 300 * mb}, 180 * mb, true},
		{"little", heap{3, 4 * mb, 36 * mb}, heap{3, 4 * mb, 36 * mb}, 0, false},
	} {
		if got := c.now.idle(c.before, c.least); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

var waste []byte

// What a process once needed, and does not any more, the machine has again.
func TestMemoryIsGivenBack(t *testing.T) {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nothing else collects
	for range 256 {
		waste = make([]byte, 1<<20)
	}
	waste = nil
	much := readHeap()
	defer giveBack(t.Context(), 20*time.Millisecond)()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		now := readHeap()
		if now.held+200<<20 < much.held {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%d MB are held, and %d MB were", now.held>>20, much.held>>20)
		}
	}
}
