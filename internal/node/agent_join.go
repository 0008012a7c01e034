package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// join registers the node and takes its lease, however long that takes, then watches over it until life ends. It
// returns an error only for a conflict that no patience mends. Attempts stop when run ends.
func (a *Agent) join(life, run context.Context) error {
	wait := 100 * time.Millisecond
	for {
		err := a.register(run)
		var s *store.Session
		if err == nil {
			s, err = a.store().Join(run, job.Presence{
				Node: a.ID, Session: a.session, Since: a.Now().UTC(), BootID: a.BootID, Replaces: a.lastSession(),
				Carries: a.carried(), Keeps: a.keptLocks(),
			}, a.firstTTL())
		}
		switch {
		case err == nil:
			a.lease.Store(s)
			a.rememberSession()
			close(a.joined)
			a.Logger.Info("joined", "session", a.session)
			return a.watchLease(life, run, s)
		case run.Err() != nil:
			return nil //nolint:nilerr // it was told to stop
		case job.IsConflict(err), job.CodeOf(err) == job.CodeInvalid:
			return fmt.Errorf("node %s: %w", a.ID, err)
		}
		a.Logger.Warn("can't join yet", "error", err, "again_in", wait)
		if !sleep(run, wait) {
			return nil
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// watchLease tells of leases that were lost. It returns an error when another agent has taken the node's name meanwhile,
// and does not let go of it.
func (a *Agent) watchLease(life, run context.Context, s *store.Session) error {
	t := time.NewTicker(a.ttl() / 2)
	defer t.Stop()
	for taken := 0; ; {
		select {
		case <-life.Done():
			return nil
		case <-s.Lost():
			a.Logger.Warn("the lease had lapsed and was taken anew; the live keys stand again")
			a.metrics.leasesLost.Inc()
		case <-t.C:
			err := s.Err()
			if !job.IsConflict(err) || run.Err() != nil {
				taken = 0
				continue
			}
			if taken++; taken > 3 { // longer than a dead one's lease lasts
				return fmt.Errorf("node %s: %w", a.ID, err)
			}
		}
	}
}

// register writes what the agent knows of its node, and leaves alone what people set.
func (a *Agent) register(ctx context.Context) error {
	for {
		n, err := a.store().Nodes().Get(ctx, string(a.ID))
		if job.IsNotFound(err) {
			n, err = &job.Node{ID: a.ID, CreatedAt: a.Now().UTC()}, nil
		}
		if err != nil {
			return err
		}
		n.Facts = a.Facts
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		for k, v := range a.Labels {
			n.Labels[k] = v
		}
		if err := n.Valid(); err != nil {
			return err
		}
		if _, err = a.store().Nodes().Put(ctx, n); err == nil {
			a.self.Store(n)
		}
		if !job.IsConflict(err) {
			return err
		}
	}
}

// quit gives the lease back, so that everybody knows at once. Where runs go on without the agent it stays: they are alive, and
// until it lapses the next life takes it over with them. Alone ones end before that, as after any loss of the lease.
func (a *Agent) quit(ctx context.Context) error {
	s := a.lease.Load()
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if n := a.left.Load(); n > 0 {
		a.Logger.Info("the agent stops, and its runs go on", "runs", n)
		s.Leave(ctx)
		a.holdOnce(s)
		return nil
	}
	if err := s.Close(ctx); err != nil {
		a.Logger.Warn("the lease could not be given back; it will lapse", "error", err)
		return nil
	}
	_ = os.Remove(a.sessionFile()) // there is nothing to replace
	return nil
}

// The session's name is kept in the agent's folder, which belongs to one process at a time: whoever finds it there knows
// that its holder is dead and need not wait for its lease to lapse.
func (a *Agent) sessionFile() string { return filepath.Join(a.Dir, "session") }

func (a *Agent) lastSession() string {
	b, err := os.ReadFile(a.sessionFile())
	if err != nil || a.haunted {
		return ""
	}
	return string(b)
}

func (a *Agent) rememberSession() {
	if err := os.WriteFile(a.sessionFile(), []byte(a.session), 0o600); err != nil {
		a.Logger.Warn("the session's name could not be kept; the next start waits for the lease", "error", err)
	}
}
