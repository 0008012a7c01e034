package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/job"
)

// What is asked for is made once, whichever of its attempts come late, and however soon it is done with.
func TestAskedForOnce(t *testing.T) {
	creates := map[string]func() Op{
		"a run": func() Op { return CreateDispatch(testDispatch("r1", "n1")) },
		"an execution": func() Op {
			return CreateExecution(&job.GroupExecution{ID: "ex-1", Group: "g", Status: job.ExecutionRunning})
		},
	}
	drop := map[string]Op{"a run": DeleteDispatch("n1", "r1", 0), "an execution": DeleteExecution(&job.GroupExecution{ID: "ex-1", Group: "g"})}
	key := map[string]string{"a run": "/dispatch/n1/r1", "an execution": "/executions/g/ex-1"}
	for what, create := range creates {
		for _, how := range []string{"the first attempt comes late", "the first answer is lost", "and it is done with"} {
			for _, leads := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, leads=%t", what, how, leads), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						m := NewMemory(MemoryOptions{})
						defer m.Close()
						s := m.Client("m1")
						defer s.Close()
						other := m.Client("other")
						defer other.Close()
						ctx := t.Context()
						do := s.Do
						if leads {
							l, err := s.Campaign(ctx, "m1", time.Minute)
							if err != nil {
								t.Fatal(err)
							}
							do = l.Do
						}
						var mu sync.Mutex
						tries := 0
						m.OnCall(func(_ context.Context, c Call) error {
							mu.Lock()
							defer mu.Unlock()
							if c.Client != "m1" || c.Op != "txn" || !slices.ContainsFunc(c.Keys, func(k string) bool { return strings.HasSuffix(k, key[what]) }) {
								return nil
							}
							if !c.After {
								tries++
							}
							switch {
							case tries > 1:
							case how == "the first attempt comes late" && !c.After:
								c.Later(time.Minute)
								return ErrCut
							case how == "the first answer is lost" && c.After:
								return ErrCut
							case how == "and it is done with" && c.After:
								mu.Unlock()
								must(other.Do(ctx, drop[what]))
								mu.Lock()
								return ErrCut
							}
							return nil
						})
						done, err := do(ctx, create())
						if tries == 0 {
							t.Fatal("nothing was seen of it")
						}
						there := func() int64 { return must(other.Dispatches().Count(ctx)) + must(other.Executions().Count(ctx)) }
						switch how {
						case "and it is done with":
							if !errors.Is(err, ErrUnknown) || there() != 0 {
								t.Errorf("%v, %v, %d there", done, err, there())
							}
						default:
							if err != nil || !done[0] || there() != 1 {
								t.Fatalf("%v, %v, %d there", done, err, there())
							}
							must(other.Do(ctx, drop[what]))
						}
						time.Sleep(2 * time.Minute)
						if there() != 0 {
							t.Errorf("it is there again")
						}
						// What comes next is made.
						if done, err := do(ctx, create()); err != nil || !done[0] || there() != 1 {
							t.Errorf("%v, %v, %d there", done, err, there())
						}
					})
				})
			}
		}
	}
}

// Turns are used again, by one transaction at a time, and go with their lease.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Close()
		s := m.Client("m1")
		defer s.Close()
		ctx := t.Context()
		ask := func(from, to int) {
			var wg sync.WaitGroup
			for i := from; i < to; i++ {
				wg.Go(func() {
					if done, err := s.Do(ctx, CreateDispatch(testDispatch(job.RunID(fmt.Sprint("r", i)), "n1"))); err != nil || !done[0] {
						t.Errorf("%d: %v, %v", i, done, err)
					}
				})
			}
			wg.Wait()
		}
		count := func() int64 {
			r, err := s.kv.Range(ctx, request{key: s.full(turnsRoot), end: prefixEnd(s.full(turnsRoot)), countOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			return r.count
		}
		m.OnCall(func(ctx context.Context, _ Call) error {
			sleep(ctx, time.Millisecond)
			return nil
		})
		for i := range 20 {
			ask(i, i+1)
		}
		if n := count(); n != 1 {
			t.Errorf("%d turns for one after another", n)
		}
		ask(100, 140)
		if n := count(); n < 2 || n > 40 {
			t.Errorf("%d turns for 40 at once", n)
		}
		// A turn whose lease was revoked, or has run out, is another one.
		r, err := s.kv.Range(ctx, request{key: s.full(turnsRoot), end: prefixEnd(s.full(turnsRoot)), keysOnly: true})
		if err != nil || !m.Expire(r.kvs[0].key) {
			t.Fatal(r, err)
		}
		ask(200, 220)
		time.Sleep(turnUse + time.Minute)
		ask(300, 301)
		time.Sleep(turnLease)
		if n := count(); n > 1 {
			t.Errorf("%d turns are left", n)
		}
		ask(400, 401)
		if n := must(s.Dispatches().Count(ctx)); n != 20+40+20+1+1 {
			t.Errorf("%d were asked for", n)
		}
	})
}
