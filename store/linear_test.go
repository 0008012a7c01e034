package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/rota-dev/rota/job"
)

// What clients ask for, and hear, while a history is recorded.
type (
	claimAsk struct { // one instant of a task
		who string
		at  int
	}
	lockAsk struct { // the lock of a task, for a run; give: it is given back
		who, run string
		give     bool
	}
	leadAsk struct { // campaign, resign, depose, write, read
		what, who string
		term      int64
	}
	valueAsk struct { // a value in the place of another; empty: none. A read has neither.
		read     bool
		from, to string
	}
	// heard is what became of it.
	heard struct {
		open   bool   // nobody knows
		ok     bool   // it was done
		by     string // where not: by whom it was done; of a read: what is there
		number int64  // a fence or a term
	}
)

// recorder keeps the histories of several things, each by its name.
type recorder struct {
	clock atomic.Int64
	mu    sync.Mutex
	ops   map[string][]porcupine.Operation
}

func newRecorder() *recorder { return &recorder{ops: map[string][]porcupine.Operation{}} }

// do records one operation of a client. What nobody knows the end of may still happen, until the end of all.
func (r *recorder) do(thing string, client int, ask any, f func() heard) heard {
	op := porcupine.Operation{ClientId: client, Input: ask, Call: r.clock.Add(1)}
	h := f()
	op.Output, op.Return = h, r.clock.Add(1)
	if h.open {
		op.Return = math.MaxInt64
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops[thing] = append(r.ops[thing], op)
	return h
}

// check tells which histories could not have come from one thing that does one operation after another.
func (r *recorder) check(t *testing.T, models map[string]porcupine.Model) (wrong []string) {
	t.Helper()
	r.ops["election"] = withoutVacant(r.ops["election"])
	n, open := 0, 0
	for thing, ops := range r.ops {
		for _, op := range ops {
			if n++; op.Return == math.MaxInt64 {
				open++
			}
		}
		// Each history is short, and has few open ends, so that the search is quick; what stops it is only there for a machine that stands still.
		switch got := porcupine.CheckOperationsTimeout(models[thing[:1]], ops, time.Minute); got {
		case porcupine.Illegal:
			wrong = append(wrong, thing)
		case porcupine.Unknown:
			t.Errorf("%s: %d operations are too many to judge", thing, len(ops))
		}
	}
	t.Logf("%d operations on %d things, %d of them without a known end: %d wrong", n, len(r.ops), open, len(wrong))
	return wrong
}

// withoutVacant leaves out the readings of terms that began for nobody: the answer to a campaign was lost, and its key stands until its lease lapses, or is given back.
func withoutVacant(ops []porcupine.Operation) []porcupine.Operation {
	began := map[int64]bool{0: true}
	for _, op := range ops {
		if op.Input.(leadAsk).what == "campaign" {
			began[op.Output.(heard).number] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ops), func(op porcupine.Operation) bool {
		return op.Input.(leadAsk).what == "read" && !began[op.Output.(heard).number]
	})
}

// models are what the things are, by the first letter of their names.
func models() map[string]porcupine.Model {
	return map[string]porcupine.Model{"c": claimModel(), "l": lockModel(), "e": electionModel(), "v": valueModel()}
}

// instants is how many of a task are claimed in a history.
const instants = 4

// claims is a task: who has which instant, by which fence, and the last fence.
type claims struct {
	by     [instants]string
	fences [instants]int64
	last   int64
}

func claimModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return claims{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(claims), input.(claimAsk), output.(heard)
			holder := &s.by[in.at]
			switch {
			case out.open:
				if *holder == "" {
					*holder = in.who // by a fence that nobody knows yet
				}
			case !out.ok:
				return *holder == out.by && out.by != in.who, s
			case *holder == "":
				*holder, s.fences[in.at] = in.who, out.number
				if out.number <= s.last {
					return false, s
				}
				s.last = out.number
			case *holder != in.who || s.fences[in.at] != 0 && s.fences[in.at] != out.number:
				return false, s
			default:
				s.fences[in.at] = out.number
			}
			return true, s
		},
	}
}

// locked is the lock of a task.
type locked struct {
	run         string
	fence, last int64
}

func lockModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return locked{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(locked), input.(lockAsk), output.(heard)
			switch {
			case in.give:
				if s.run == in.run {
					s.run, s.fence = "", 0
				}
			case out.open:
				if s.run == "" {
					s.run, s.fence = in.run, 0
				}
			case !out.ok:
				return s.run == out.by && out.by != in.run, s
			case s.run == "":
				if out.number <= s.last {
					return false, s
				}
				s = locked{in.run, out.number, out.number}
			case s.run != in.run || s.fence != 0 && s.fence != out.number || s.fence == 0 && out.number <= s.last:
				return false, s
			default:
				s.fence, s.last = out.number, out.number
			}
			return true, s
		},
	}
}

// led is who leads, and since when.
type led struct {
	by         string
	term, last int64
}

func electionModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return led{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(led), input.(leadAsk), output.(heard)
			switch in.what {
			case "campaign":
				if out.open { // who does not hear that it leads does not lead, even where its key stands until its lease lapses
					return true, s
				}
				if s.by != "" || out.number <= s.last {
					return false, s
				}
				return true, led{in.who, out.number, out.number}
			case "resign", "depose":
				if s.term == in.term {
					s.by, s.term = "", 0
				}
				return true, s
			case "write": // what is refused says nothing: a leader gives up before it must
				return !out.ok || s.term == in.term, s
			}
			return out.open || out.by == s.by && out.number == s.term, s
		},
	}
}

func valueModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			now, in, out := state.(string), input.(valueAsk), output.(heard)
			switch {
			case in.read:
				return out.open || out.by == now, now
			case out.open:
				if now == in.from {
					now = in.to
				}
				return true, now
			}
			// What was refused may have been done by a question whose answer was lost, and replaced by somebody else before it was asked again.
			if out.ok && now != in.from {
				return false, now
			}
			if now == in.from {
				now = in.to
			}
			return true, now
		},
	}
}

// party is one client, with a session of its own.
type party struct {
	number int
	name   string
	s      *Store
	ss     *Session
	r      *recorder
}

// within gives an operation a while; what is over then has no known end.
func (p *party) within(ctx context.Context, patience time.Duration, f func(ctx context.Context) (heard, error)) heard {
	once, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h, err := f(once)
	if err != nil {
		return heard{open: true}
	}
	return h
}

func (p *party) claim(ctx context.Context, patience time.Duration, task string, at int) {
	ref := job.Ref("", task)
	p.r.do("claims of "+task, p.number, claimAsk{p.name, at}, func() heard {
		return p.within(ctx, patience, func(ctx context.Context) (heard, error) {
			fence, err := p.ss.Claim(ctx, job.Claim{Task: ref, Instant: day.Add(time.Duration(at+1) * time.Minute), Job: "h"})
			var taken *ClaimedError
			if errors.As(err, &taken) {
				return heard{by: string(taken.By.Node)}, nil
			}
			return heard{ok: true, number: fence}, err
		})
	})
}

// lock takes the lock of a task, holds it for a while, and gives it back. What became of an open request the session gives back by itself, at some time.
func (p *party) lock(ctx context.Context, patience time.Duration, task, run string) {
	thing, l := "lock of "+task, job.Lock{Task: job.Ref("", task), Run: job.RunID(run)}
	give := func(f func() heard) { p.r.do(thing, p.number, lockAsk{p.name, run, true}, f) }
	h := p.r.do(thing, p.number, lockAsk{p.name, run, false}, func() heard {
		return p.within(ctx, patience, func(ctx context.Context) (heard, error) {
			fence, holder, err := p.ss.Lock(ctx, l)
			if holder != nil {
				return heard{by: string(holder.Run)}, err
			}
			return heard{ok: true, number: fence}, err
		})
	})
	switch {
	case h.open:
		give(func() heard { return heard{open: true} })
	case h.ok:
		l.Fence = h.number
		sleep(ctx, patience/20)
		give(func() heard {
			return p.within(ctx, patience, func(ctx context.Context) (heard, error) { return heard{ok: true}, p.ss.Unlock(ctx, l) })
		})
	}
}

// lead campaigns, writes as the leader, and ends its term in one way or another.
func (p *party) lead(ctx context.Context, patience, ttl time.Duration, depose func(term int64) error) {
	const thing = "election"
	var l *Leadership
	h := p.r.do(thing, p.number, leadAsk{"campaign", p.name, 0}, func() heard {
		return p.within(ctx, patience, func(ctx context.Context) (_ heard, err error) {
			if l, err = p.s.Campaign(ctx, p.name, ttl); err != nil {
				return heard{}, err
			}
			return heard{ok: true, number: l.Term()}, nil
		})
	})
	if h.open {
		return
	}
	write := func() {
		p.r.do(thing, p.number, leadAsk{"write", p.name, h.number}, func() heard {
			return p.within(ctx, patience, func(ctx context.Context) (heard, error) {
				_, err := l.Do(ctx, PutConfig(&Config{Key: "led", Value: p.name}, Any))
				return heard{ok: err == nil}, err
			})
		})
	}
	write()
	if depose != nil {
		p.r.do(thing, p.number, leadAsk{"depose", p.name, h.number}, func() heard {
			return p.within(ctx, patience, func(context.Context) (heard, error) { return heard{ok: true}, depose(h.number) })
		})
		write()
	}
	p.r.do(thing, p.number, leadAsk{"resign", p.name, h.number}, func() heard {
		return p.within(ctx, patience, func(ctx context.Context) (heard, error) { return heard{ok: true}, l.Resign(ctx) })
	})
	write()
}

func (p *party) whoLeads(ctx context.Context, patience time.Duration) {
	p.r.do("election", p.number, leadAsk{what: "read"}, func() heard {
		return p.within(ctx, patience, func(ctx context.Context) (heard, error) {
			id, term, err := p.s.Leader(ctx)
			return heard{by: id, number: term}, err
		})
	})
}

// values replaces two values by one request, each on the condition that it is still what was read.
func (p *party) values(ctx context.Context, patience time.Duration, n int) {
	keys := [...]string{"A", "B"}
	var ops []Op
	var asks []valueAsk
	for _, key := range keys {
		var rev int64
		h := p.r.do("value "+key, p.number, valueAsk{read: true}, func() heard {
			return p.within(ctx, patience, func(ctx context.Context) (heard, error) {
				c, err := p.s.Config().Get(ctx, "", key)
				if job.IsNotFound(err) {
					return heard{}, nil
				}
				if err != nil {
					return heard{}, err
				}
				rev = c.Revision
				return heard{by: c.Value}, nil
			})
		})
		if h.open {
			return
		}
		to := fmt.Sprint(p.name, ".", n)
		ops, asks = append(ops, PutConfig(&Config{Key: key, Value: to}, rev)), append(asks, valueAsk{from: h.by, to: to})
	}
	// One answer is that of two operations, both of which began before it.
	answers := make(chan []bool, 1)
	var both sync.WaitGroup
	var began sync.WaitGroup
	began.Add(len(keys))
	got := make([]chan heard, len(keys))
	for i, key := range keys {
		got[i] = make(chan heard, 1)
		both.Go(func() {
			p.r.do("value "+key, p.number, asks[i], func() heard {
				began.Done()
				return <-got[i]
			})
		})
	}
	began.Wait()
	h := p.within(ctx, patience, func(ctx context.Context) (heard, error) {
		done, err := p.s.Do(ctx, ops...)
		answers <- done
		return heard{}, err
	})
	done := <-answers
	for i := range keys {
		if h.open {
			got[i] <- h
		} else {
			got[i] <- heard{ok: done[i]}
		}
	}
	both.Wait()
}
