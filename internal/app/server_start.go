package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/internal/node"
	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

func (s *Server) startMaster(ctx context.Context) error {
	if err := s.ensureAdminToken(ctx); err != nil {
		return err
	}
	s.master = master.New(master.Options{
		ID: s.masterID, Name: s.cfg.Name, Twin: s.fail, URL: s.advertised(), ReachedAt: s.reachedAt, Pin: s.pin(), Version: Version(), Store: s.store, History: s.history, Logger: s.log,
		Notifier: s.notifier(), ExternalURL: s.cfg.ExternalURL,
		Away:  cmp.Or(s.cfg.Away, -1),
		Lease: s.cfg.Lease, Retention: job.Retention{MaxAge: s.cfg.KeepAge, MaxPerTask: s.cfg.KeepRuns, MaxBytes: int64(s.cfg.KeepBytes), StatsAge: s.cfg.KeepStats},
	})
	s.registry.MustRegister(s.master.Metrics())
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.master.Serve(life)
	}()
	s.opened("master", func() error {
		cancel()
		<-done
		return nil
	})
	return nil
}

func (s *Server) startAgent(ctx context.Context) error {
	logs, err := s.openLogs()
	if err != nil {
		return err
	}
	r, err := s.openRunner(logs)
	if err != nil {
		return err
	}
	w := s.openWays(r, logs)
	facts := job.Facts{Hostname: hostName(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Version: Version(), Handlers: w.HandlerNames()}
	groupFacts(&facts)
	alarm, err := newAlarm()
	if err != nil {
		s.log.Warn("instants start up to a millisecond later", "error", err)
	}
	a, err := node.New(node.Options{
		ID: job.NodeID(s.cfg.Name), Labels: s.cfg.Labels, Dir: s.data.join("node"), Store: s.store, Runner: w, Logs: logs, Policy: s.policy,
		Facts: facts, BootID: runner.BootID(), BootTime: bootTime(), SinceBoot: runner.SinceBoot, Logger: s.log, Lease: s.cfg.Lease, Leftover: leftover, Alarm: alarm,
	})
	if err != nil {
		if alarm != nil {
			alarm.Stop()
		}
		return err
	}
	s.agent = a
	s.registry.MustRegister(a.Metrics())
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		err := a.Run(life)
		if life.Err() == nil {
			s.fail(err)
			err = nil // it is told once
		}
		done <- err
	}()
	s.opened("agent", func() error {
		cancel()
		err := <-done
		s.seeOff()
		return err
	})
	return nil
}

// bootTime is when the machine booted; zero where it does not tell.
func bootTime() time.Time {
	up := runner.SinceBoot()
	if up == 0 {
		return time.Time{}
	}
	return time.Now().Add(-up).Round(0)
}

// seeOff gives the master of the same process a moment to bring the agent's last records into history; what
// remains is in etcd, and comes with the next start.
func (s *Server) seeOff() {
	if s.master == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for s.master.Leads() {
		if n, err := s.store.Records().Count(ctx, s.cfg.Name); err != nil || n == 0 {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// leftover ends a process that an earlier life of the agent started, with its group, if it is still that one.
func leftover(p *job.Process) error {
	if p.BootID != runner.BootID() || p.Pid() <= 1 {
		return nil
	}
	return runner.EndLeftover(p.Pid(), p.StartTicks, string(p.Run))
}

// serve serves HTTP: at first nothing but why there is nothing yet. See open.
func (s *Server) serve(context.Context) error {
	if s.listener == nil {
		return nil
	}
	life, cancel := context.WithCancel(context.Background())
	srv := api.NewServer(life, &s.front, s.log)
	srv.TLSConfig = s.tls
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if s.tls != nil {
			err = srv.ServeTLS(s.listener, "", "")
		} else {
			err = srv.Serve(s.listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve %s: %w", s.cfg.Listen, err))
		}
	}()
	s.opened("http", func() error {
		cancel() // ends the streams
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		err := srv.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close()
		}
		<-done
		return err
	})
	return nil
}
