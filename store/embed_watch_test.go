package store

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Watches that end together all end, and so does who waits for them. A member in this process, whose streams have no buffers of their own,
// once stood still for ever in that.
func TestWatchesEndTogether(t *testing.T) {
	t.Parallel()
	s := embedded(t, t.TempDir()).Store()
	put := func(name, value string) {
		t.Helper()
		must(s.kv.Txn(t.Context(), &txn{then: []request{{action: put, key: "k" + name, value: []byte(value)}}}))
	}
	other := s.kv.Watch(t.Context(), "kother", "", 1)
	for round := range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var all []<-chan watchResult
		for i := range 40 {
			all = append(all, s.kv.Watch(ctx, fmt.Sprintf("k%d", i), "", 1))
			put(fmt.Sprint(i), fmt.Sprint(round))
		}
		for _, w := range all { // etcd has it
			if r := <-w; r.err != nil {
				t.Fatal(r.err)
			}
		}
		cancel()
		stuck := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("round %d: not all watches end", round)) })
		for _, w := range all {
			for range w {
			}
		}
		put("other", fmt.Sprint(round))
		for seen := false; !seen; {
			for _, c := range (<-other).changes {
				seen = seen || string(c.kv.value) == fmt.Sprint(round)
			}
		}
		stuck.Stop()
	}
}
