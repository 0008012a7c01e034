package store

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// A dispatch is gone once its run is told of, and an execution some time after its end. So whoever asks for one, gets no answer and asks again
// can't tell by looking whether it was made, and a request that was given up may come late and make it once more: the run would start twice. Each
// transaction that makes such a document therefore moves a turn on, on the condition that the turn is where its client left it. Of all
// attempts at one transaction, whenever they come, one can do that. What is made in one step with a document that others see change (an
// execution that advances, a backfill) needs no turn.

// turnsRoot is where turns are.
const turnsRoot = "turns/"

const (
	turnLease = 10 * time.Minute
	turnUse   = turnLease / 2 // how long turns are taken anew; their keys go with their lease
)

// turn is a key that one transaction at a time moves on.
type turn struct {
	key   string // with the store's prefix
	lease int64
	at    int64
}

func turnValue(at int64) []byte { return strconv.AppendInt(nil, at, 10) }

// turns are those of a client. They are made as they are needed.
type turns struct {
	mu    sync.Mutex
	lease int64
	since time.Duration // when the lease was asked for, on the clock of leases
	made  int
	free  []*turn
}

// takeTurn returns a turn that nobody else has. It asks etcd only where there is none.
func (s *Store) takeTurn(ctx context.Context) (*turn, error) {
	p := &s.turns
	p.mu.Lock()
	lease, old := p.lease, p.lease == 0 || s.clock.elapsed()-p.since > turnUse
	if n := len(p.free); n > 0 && !old {
		t := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return t, nil
	}
	p.made++
	made := p.made
	p.mu.Unlock()
	if old {
		since := s.clock.elapsed()
		var err error
		if lease, _, err = s.kv.Grant(ctx, int64(turnLease/time.Second)); err != nil {
			return nil, err
		}
		p.mu.Lock()
		p.lease, p.since, p.free = lease, since, nil
		p.mu.Unlock()
	}
	t := &turn{key: s.full(turnsRoot + strconv.FormatInt(lease, 16) + "/" + strconv.Itoa(made)), lease: lease}
	_, err := s.kv.Txn(ctx, &txn{then: []request{{action: put, key: t.key, value: turnValue(t.at), lease: t.lease}}})
	if errors.Is(err, errLeaseNotFound) {
		p.drop(t)
		return nil, errTurnGone
	}
	return t, err
}

// errTurnGone is no answer: there will be another lease.
var errTurnGone = errors.New("the lease of the turns is gone")

// giveTurn lets others have it. One with an attempt that may still come is not given back.
func (s *Store) giveTurn(t *turn) {
	p := &s.turns
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.lease == p.lease {
		p.free = append(p.free, t)
	}
}

// ErrUnknown says that etcd's answer was lost, and that what was asked for is not there: it was never made, or is done with already.
var ErrUnknown error = job.Errorf(job.CodeUnavailable, "etcd's answer was lost: whether it was asked for is not known").
	WithHint("look at what ran; a request under a key (--key) can be repeated")

// doOnce is doBatch of operations that happen once, however many attempts it takes.
func (s *Store) doOnce(ctx context.Context, guards []compare, ops []*Op, done []bool) error {
	for {
		var t *turn
		err := s.attempt(ctx, func(ctx context.Context) (err error) {
			t, err = s.takeTurn(ctx)
			return err
		})
		if err != nil {
			return coded(err, "write %d changes", len(ops))
		}
		again, err := s.doTurn(ctx, t, guards, ops, done)
		if !again {
			return err
		}
	}
}

// doTurn is doOnce with one turn; again: it is gone, and nothing was done.
func (s *Store) doTurn(ctx context.Context, t *turn, besides []compare, ops []*Op, done []bool) (again bool, err error) {
	is, next := turnValue(t.at), turnValue(t.at+1)
	guards := append([]compare{{key: t.key, target: byValue, op: '=', value: is}}, besides...)
	look := []request{{key: t.key}} // where a guard does not hold
	for _, op := range ops {
		look = append(look, prefixed(s.prefix, op.probe())...)
	}
	if len(look) > maxTxnOps { // more than one transaction takes
		look = look[:1]
	}
	unsure, lost, refused := false, false, false
	err = s.attempt(ctx, func(ctx context.Context) error {
		x := compose(s.prefix, guards, ops, func(*Op) []request { return nil })
		x.then = append(x.then, request{action: put, key: t.key, value: next, lease: t.lease})
		x.otherwise = look
		r, err := s.kv.Txn(ctx, x)
		if errors.Is(err, errLeaseNotFound) {
			lost = true
			return nil
		}
		if err != nil {
			unsure = unsure || !definite(err)
			return err
		}
		if r.ok {
			for i, o := range outcomes(r, guards, ops) {
				done[i] = o.ok
			}
			return nil
		}
		now := r.results[0].kvs
		switch {
		case len(now) == 1 && bytes.Equal(now[0].value, is):
			refused = true
		case len(now) == 1 && bytes.Equal(now[0].value, next): // an earlier attempt has done it
			lost = len(look) == 1
			for i, at := 0, 1; i < len(ops) && !lost; i++ {
				n := len(ops[i].deciding())
				done[i] = ops[i].happened(r.results[at : at+n])
				lost = !done[i] && ops[i].once
				at += n
			}
		default:
			lost = true
		}
		return nil
	})
	switch {
	case err == nil && !lost && !refused:
		t.at++
		s.giveTurn(t)
	case !unsure && !lost:
		s.giveTurn(t)
	}
	switch {
	case refused:
		return false, errGuard
	case lost && unsure:
		return false, ErrUnknown
	case lost:
		s.turns.drop(t)
		return true, nil
	case errors.Is(err, errNoSpace) && len(ops) > 1:
		return false, s.doFreeing(ctx, besides, ops, done)
	}
	return false, coded(err, "write %d changes", len(ops))
}

// drop forgets the turns of a lease that is gone.
func (p *turns) drop(t *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.lease == p.lease {
		p.lease = 0
	}
}
