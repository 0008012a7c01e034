package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rota-dev/rota/internal/api"
	"github.com/rota-dev/rota/internal/history"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/internal/node"
	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Server is a whole program: what `rota up`, `rota master` and `rota node` run. Start boots it, Wait waits for its
// end, Close ends it in order.
type Server struct {
	cfg   ServerConfig
	log   *slog.Logger
	parts []part // what was opened, in order; closed in the opposite one

	data     *dataDir
	listener net.Listener
	store    *store.Store
	history  *history.DB
	master   *master.Master
	agent    *node.Agent
	registry *prometheus.Registry

	fatal chan error // the first end of a part that nobody asked for
	once  sync.Once
	err   error
}

// part is something that was opened and must be closed.
type part struct {
	name  string
	close func() error
}

// Start boots a server. When it fails, everything that was opened is closed again.
func Start(ctx context.Context, cfg ServerConfig, logTo io.Writer) (_ *Server, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	log, err := newLogger(logTo, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: log, fatal: make(chan error, 4), registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	steps := []func(context.Context) error{s.listen, s.openData, s.openStore}
	if cfg.Role != RoleNode {
		steps = append(steps, s.openHistory, s.startMaster)
	}
	if cfg.Role != RoleMaster {
		steps = append(steps, s.startAgent)
	}
	for _, step := range append(steps, s.serve) {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) opened(name string, close func() error) {
	s.parts = append(s.parts, part{name, close})
}

// listen comes first: a port that is taken is the likeliest fault, and nothing has been touched yet.
func (s *Server) listen(ctx context.Context) error {
	if s.cfg.Listen == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return job.Errorf(job.CodeConflict, "can't listen on %s: %w", s.cfg.Listen, err).
			WithHint("does another rota run there? choose another address with --listen")
	}
	s.listener = l
	s.opened("listener", func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

func (s *Server) openData(context.Context) error {
	path := s.cfg.Data
	if s.cfg.Ephemeral {
		dir, err := os.MkdirTemp("", "rota-")
		if err != nil {
			return err
		}
		path = dir
		s.opened("ephemeral data", func() error { return os.RemoveAll(dir) })
	}
	d, err := openDataDir(path)
	if err != nil {
		return err
	}
	s.data = d
	s.opened("data folder", d.Close)
	return nil
}

func (s *Server) openStore(ctx context.Context) error {
	if len(s.cfg.Etcd) > 0 {
		conf, err := s.cfg.etcdTLS()
		if err != nil {
			return err
		}
		st, err := store.Open(ctx, store.Options{Endpoints: s.cfg.Etcd, Prefix: s.cfg.Prefix, TLS: conf, Logger: s.log})
		if err != nil {
			return err
		}
		s.store = st
		s.opened("etcd client", st.Close)
		return nil
	}
	opts := store.EmbedOptions{Dir: s.data.join("etcd"), Prefix: s.cfg.Prefix, ClientTLS: s.cfg.EtcdTLS, Logger: s.log}
	if s.cfg.EtcdURL != "" {
		opts.ClientURLs = []string{s.cfg.EtcdURL}
	}
	e, err := store.Embed(ctx, opts)
	if err != nil {
		return err
	}
	s.opened("etcd", e.Close)
	s.store = e.Store()
	s.opened("etcd client", s.store.Close)
	return nil
}

func (s *Server) openHistory(ctx context.Context) error {
	dsn := s.cfg.DB
	if dsn == "" {
		dsn = "sqlite:" + s.data.join("history.db")
	}
	if err := s.refuseSplitHistory(ctx, dsn); err != nil {
		return err
	}
	db, err := history.Open(ctx, dsn, history.Options{Logger: s.log})
	if err != nil {
		return err
	}
	s.history = db
	s.opened("history", db.Close)
	return nil
}

// refuseSplitHistory refuses a master with a history of its own beside another: each would know half of it.
func (s *Server) refuseSplitHistory(ctx context.Context, dsn string) error {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		return nil
	}
	others, _, err := s.store.Masters().List(ctx)
	if err != nil {
		return err
	}
	for _, o := range others {
		if !strings.HasPrefix(o.ID, s.cfg.Name+"-") { // not an earlier life of this one
			return job.Errorf(job.CodeConflict, "master %s is alive, and a second one can't keep its history in SQLite", o.ID).
				WithHint("give all masters one PostgreSQL with --db postgres://…")
		}
	}
	return nil
}

func (s *Server) startMaster(ctx context.Context) error {
	if err := s.ensureAdminToken(ctx); err != nil {
		return err
	}
	url := ""
	if s.listener != nil {
		url = s.cfg.url(s.listener.Addr())
	}
	s.master = master.New(master.Options{
		// Two masters on one machine, and two lives of one, are different ones.
		ID: s.cfg.Name + "-" + uuid.NewString()[:8], URL: url, Version: Version(), Store: s.store, History: s.history, Logger: s.log,
		Lease: s.cfg.Lease, Retention: job.Retention{MaxAge: s.cfg.KeepAge, MaxPerTask: s.cfg.KeepRuns},
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
	r, err := runner.New(runner.Options{Dir: s.data.join("run"), Logger: s.log})
	if err != nil {
		return err
	}
	s.opened("runner", r.Close)
	a, err := node.New(node.Options{
		ID: job.NodeID(s.cfg.Name), Labels: s.cfg.Labels, Dir: s.data.join("node"), Store: s.store, Runner: r,
		Facts:  job.Facts{Hostname: hostName(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Version: Version()},
		BootID: runner.BootID(), BootTime: bootTime(), Logger: s.log, Lease: s.cfg.Lease, Leftover: leftover,
	})
	if err != nil {
		return err
	}
	s.agent = a
	s.registry.MustRegister(a.Metrics())
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		err := a.Run(life)
		if err != nil {
			s.fail(err)
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
	for ctx.Err() == nil && s.master.Leads() {
		if n, err := s.store.Records().Count(ctx, s.cfg.Name); err != nil || n == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// leftover ends a process that an earlier life of the agent started, with its group, if it is still that one.
func leftover(p *job.Process) error {
	if p.BootID != runner.BootID() || p.Pid() <= 1 {
		return nil
	}
	return runner.EndLeftover(p.Pid(), p.StartTicks, string(p.Run))
}

// fail reports the end of a part that nobody asked for.
func (s *Server) fail(err error) {
	select {
	case s.fatal <- err:
	default:
	}
}

// Wait waits until ctx ends or a part fails.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.fatal:
		return err
	}
}

// Close ends the parts in the opposite order of their start: no new requests, no new runs, the last records on their
// way, then the master, history and etcd.
func (s *Server) Close() error {
	s.once.Do(func() {
		var errs []error
		for i := len(s.parts) - 1; i >= 0; i-- {
			p := s.parts[i]
			if err := p.close(); err != nil {
				errs = append(errs, fmt.Errorf("close %s: %w", p.name, err))
			}
		}
		s.err = errors.Join(errs...)
	})
	return s.err
}

// URL is where the API is served; empty for a node without it.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	return s.cfg.url(s.listener.Addr())
}

// serve serves HTTP.
func (s *Server) serve(context.Context) error {
	if s.listener == nil {
		return nil
	}
	life, cancel := context.WithCancel(context.Background())
	srv := api.NewServer(life, s.handler(), s.log)
	if s.cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
		if err != nil {
			cancel()
			return job.Errorf(job.CodeInvalid, "--tls-cert and --tls-key: %w", err)
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if srv.TLSConfig != nil {
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
