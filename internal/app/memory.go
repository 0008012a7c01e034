package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	lookAtMemory = 10 * time.Second
	littleMemory = 32 << 20 // bytes that are not worth a collection
)

// heap is what the process has of memory in which Go keeps objects.
type heap struct {
	cycles uint64 // collections so far
	live   uint64 // bytes of what the latest one found alive
	held   uint64 // bytes that the machine has given for it
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return heap{cycles: s[0].Value.Uint64(), live: s[1].Value.Uint64(), held: s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()}
}

// idle tells that a process that was quiet since the look before holds much more than it needs, which is no less than what it last could not give back.
func (h heap) idle(before heap, least uint64) bool {
	least = max(least, h.live)
	return h.cycles > 0 && h.cycles == before.cycles && h.held > least+least/3+littleMemory
}

// giveBack gives memory back to the machine, until over is called, that a start or many tasks at once took and nothing has needed since. Go itself waits two
// minutes and then keeps up to twice of what is alive, for the work to come. Where there is work, and so garbage is collected, it keeps away.
func giveBack(ctx context.Context, every time.Duration) (over func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(every)
		defer t.Stop()
		before, least := readHeap(), uint64(0)
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			now := readHeap()
			if now.idle(before, least) {
				debug.FreeOSMemory()
				now = readHeap()
				least = now.held // what is scattered stays
			}
			before = now
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
