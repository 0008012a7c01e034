package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// masterLife is one life of a master.
type masterLife struct {
	*master.Master
	client string
	store  *store.Store
	hist   *archive
	cancel context.CancelFunc
	done   chan struct{}
	turn   chan struct{} // people ask one after the other
}

// start begins a life of the master, unless there is one.
func (s *server) start() {
	if s.life != nil {
		return
	}
	w := s.w
	s.lives++
	l := &masterLife{client: fmt.Sprintf("%s#%d", s.name, s.lives), done: make(chan struct{}), turn: make(chan struct{}, 1)}
	l.store = w.mem.Client(l.client)
	l.hist = &archive{History: w.db, w: w, client: l.client, dead: make(chan struct{})}
	l.Master = master.New(master.Options{
		ID: l.client, Version: "sim", Store: l.store, History: l.hist, Logger: w.logger(l.client), Lease: lease, Now: s.clock.now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	s.life = l
	w.born(l)
	w.note(s.name, "the master starts")
	w.wg.Go(func() {
		defer close(l.done)
		l.Serve(ctx)
	})
}

// kill is kill -9.
func (s *server) kill() {
	l := s.life
	if l == nil {
		return
	}
	s.w.mem.Cut(l.client)
	close(l.hist.dead)
	l.cancel()
	s.life = nil
}

// people ask some master, and another one where that one does not answer, until one does or their patience is over.
func (w *world) ask(what string, f func(ctx context.Context, m *master.Master) error) error {
	until := time.Now().Add(40 * time.Second)
	number := w.net.number("people " + what)
	var err error
	for try := 0; time.Now().Before(until) || try == 0; try++ {
		order := slices.Clone(w.servers)
		from := w.d.n(len(order), "people", what, number, fmt.Sprint(try))
		order = append(order[from:], order[:from]...)
		for _, s := range order {
			var l *masterLife
			s.alone(func() { l = s.life })
			if l == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			l.turn <- struct{}{}
			err = f(ctx, l.Master)
			<-l.turn
			cancel()
			if err == nil || job.CodeOf(err) != job.CodeUnavailable && ctx.Err() == nil && job.CodeOf(err) != job.CodeInternal {
				return err
			}
		}
		if !wait(w.ctx, time.Second+w.d.between(0, time.Second, "people", what, number, fmt.Sprint(try), "wait")) {
			return w.ctx.Err()
		}
	}
	return err
}
