package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rota-dev/rota/internal/history"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/internal/node"
	"github.com/rota-dev/rota/internal/policy"
	"github.com/rota-dev/rota/store"
)

// Server is a whole program: what `rota up`, `rota master` and `rota node` run. Start boots it, Wait waits for its
// end, Close ends it in order.
type Server struct {
	cfg   ServerConfig
	log   *slog.Logger
	parts []part // what was opened, in order; closed in the opposite one

	tls      *tls.Config // to serve with; nil: plain HTTP
	data     *dataDir
	lived    bool // the data folder has been a server's before
	listener net.Listener
	front    front
	store    *store.Store
	masterID string
	history  *history.DB
	master   *master.Master
	agent    *node.Agent
	policy   *policy.Live // of the node; nil: there is none
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
		return nil, &usageError{err: err}
	}
	log, err := newLogger(logTo, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return nil, &usageError{err: err}
	}
	if cfg.Logger != nil {
		log = cfg.Logger
	}
	s := &Server{cfg: cfg, log: log, fatal: make(chan error, 4), registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	steps := []func(context.Context) error{s.loadTLS, s.listen, s.serve, s.openData, s.openStore}
	if cfg.Role != RoleMaster {
		steps = append([]func(context.Context) error{s.loadPolicy}, steps...)
	}
	if cfg.Role != RoleNode {
		steps = append(steps, s.replaceMaster, s.openHistory, s.startMaster)
	}
	if cfg.Role != RoleMaster {
		steps = append(steps, s.startAgent)
	}
	for _, step := range append(steps, s.open) {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// open lets requests in. Whoever comes last goes first.
func (s *Server) open(context.Context) error {
	if s.listener == nil {
		return nil
	}
	s.front.open(s.handler())
	if i := slices.IndexFunc(s.parts, func(p part) bool { return p.name == "http" }); i >= 0 {
		p := s.parts[i]
		s.parts = append(slices.Delete(s.parts, i, i+1), p)
	}
	return nil
}

func (s *Server) opened(name string, close func() error) {
	s.parts = append(s.parts, part{name, close})
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
