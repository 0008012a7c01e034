// Package rota embeds Rota in a Go program: a node that runs the program's own functions, or a whole server.
//
// There is nothing global in it: several nodes and servers may live in one process. It leaves signals, flags and the
// end of the process to its caller, and logs through the [slog.Logger] that it is given. See docs/embedding.md and
// examples/embed.
package rota

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/app"
	"github.com/rota-dev/rota/internal/guard"
	"github.com/rota-dev/rota/internal/ways"
	"github.com/rota-dev/rota/job"
)

// Handler is a function that tasks run by its name (handler: NAME). It must return soon after ctx ended, which is when the run
// is killed, its time is over, or its node must not go on with it: [context.Cause] says which. One that goes on is recorded
// all the same, and its goroutine is left behind. An error is a failed run, and so is a panic, whose stack
// is in the run's output.
type Handler func(ctx context.Context, run *Run) error

// Run is what a handler is given.
type Run = ways.Run

// NodeOptions configure a node. The zero value of a field is its default.
type NodeOptions struct {
	Name   string            // default: the host's
	Labels map[string]string // by which tasks select it
	// Dir is the node's own folder, which no other process may use at the same time. It must be set: records that are not
	// handed over yet are kept in it.
	Dir    string
	Etcd   []string // endpoints of etcd, which must be set
	Prefix string   // of all keys in etcd; default /rota/v1/
	// EtcdCA, EtcdCert and EtcdKey are files in PEM, for TLS to etcd.
	EtcdCA, EtcdCert, EtcdKey string
	Lease                     time.Duration // how long it counts as alive when it falls silent; default 10 s
	Policy                    string        // the file of the node's own policy; default /etc/rota/node.yaml, if there is one
	Secrets                   string        // the folder of the node's secrets; default /etc/rota/secrets
	HTTPAllow                 []string      // networks that HTTP runs may reach although they are not public
	HTTPInsecureTLS           bool          // lets tasks accept any certificate
	// Guarded has commands run by a guard: a process of this very program beside this one, in which [GuardMain] takes over. They
	// then outlive a kill of this process, and the next Run with the same Dir takes them up; an alone command ends before its lease does,
	// also while this process is stopped. The program's main must begin with GuardMain. Linux only.
	Guarded bool
	Logger  *slog.Logger // default: nothing is logged
}

// GuardMain is the life of a guard, where this process was started to be one: it does not return then, and the process ends in it. In
// any other process it does nothing. A program with a node that is Guarded calls it first in main, before flags are read or anything is opened.
func GuardMain() {
	dir, ok := guard.Asked()
	if !ok {
		return
	}
	if err := guard.Main(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Node is an agent in this process.
type Node struct{ part }

// NewNode makes a node. Nothing happens before Run, which tells of options that can't be.
func NewNode(o NodeOptions) *Node {
	n := &Node{newPart(app.ServerConfig{
		Role: app.RoleNode, Name: o.Name, Labels: maps.Clone(o.Labels), Data: o.Dir, Etcd: o.Etcd, Prefix: o.Prefix, Lease: o.Lease, Policy: o.Policy, Guarded: o.Guarded,
		WaysConfig: app.WaysConfig{Secrets: o.Secrets, HTTPAllow: o.HTTPAllow, HTTPInsecureTLS: o.HTTPInsecureTLS, Logger: o.Logger},
	})}
	n.cfg.EtcdTLS.CA, n.cfg.EtcdTLS.Cert, n.cfg.EtcdTLS.Key = o.EtcdCA, o.EtcdCert, o.EtcdKey
	return n
}

// ServerOptions configure a server. The zero value of a field is its default.
type ServerOptions struct {
	NodeOptions // of the server's own node; without Etcd the server has an etcd of its own, in Dir

	Listen          string // of the API; default 127.0.0.1:7682, and port 0 takes a free one
	TLSCert, TLSKey string // files in PEM, to serve with
	DB              string // history: sqlite:FILE or postgres://…; default: SQLite in Dir
}

// Server is a master with its etcd and a node, in this process: what `rota up` runs.
type Server struct{ part }

// NewServer makes a server. Nothing happens before Run, which tells of options that can't be.
func NewServer(o ServerOptions) *Server {
	s := &Server{NewNode(o.NodeOptions).part}
	s.cfg.Role, s.cfg.Listen, s.cfg.DB, s.cfg.TLSCert, s.cfg.TLSKey = app.RoleUp, o.Listen, o.DB, o.TLSCert, o.TLSKey
	return s
}

// URL is where the API is served; empty before Ready is closed.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return ""
	}
	return s.running.URL()
}

// Client makes a client of the server, with the rights of its administrator. It may be called once Ready is closed.
func (s *Server) Client() (*client.Client, error) {
	url := s.URL()
	if url == "" {
		return nil, job.Errorf(job.CodeUnavailable, "the server does not run").WithHint("wait for Ready")
	}
	token, err := os.ReadFile(filepath.Join(s.cfg.Data, "admin.token"))
	if err != nil {
		return nil, job.Errorf(job.CodeForbidden, "the administrator's token: %w", err)
	}
	return client.New(client.Options{Server: url, Token: strings.TrimSpace(string(token))})
}

// part is what a node and a server have in common.
type part struct {
	cfg   app.ServerConfig
	ready chan struct{}
	*state
}

// state is apart because a part is copied while it is made.
type state struct {
	mu      sync.Mutex
	used    bool
	running *app.Server
	faults  []error
}

func newPart(cfg app.ServerConfig) part {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Handlers = map[string]ways.Handler{}
	return part{cfg: cfg, ready: make(chan struct{}), state: &state{}}
}

// Handle lets tasks run a function by a name. Run tells of names that can't be; a call that comes after Run panics.
func (p *part) Handle(name string, h Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.used:
		panic("rota: handler " + name + " comes too late: call Handle before Run")
	case h == nil:
		p.faults = append(p.faults, job.Errorf(job.CodeInvalid, "handler %s is nil", name))
	case p.cfg.Handlers[name] != nil:
		p.faults = append(p.faults, job.Errorf(job.CodeInvalid, "there are two handlers %s", name))
	default:
		p.cfg.Handlers[name] = ways.Handler(h)
	}
}

// Ready is closed when it has started. It never is where Run fails before that.
func (p *part) Ready() <-chan struct{} { return p.ready }

// Run runs it until ctx ends, and then stops it in order: no new runs, the present ones ended and their records handed over. It
// may be called once. The error is nil where ctx's end was the reason.
func (p *part) Run(ctx context.Context) (err error) {
	p.mu.Lock()
	if p.used {
		p.faults = append(p.faults, job.Errorf(job.CodeConflict, "Run was called before"))
	}
	p.used = true
	if p.cfg.Data == "" {
		p.faults = append(p.faults, job.Errorf(job.CodeInvalid, "no folder is given").WithHint("set Dir"))
	}
	if _, asked := guard.Asked(); asked { // else each guard would start a node, with a guard of its own
		p.faults = append(p.faults, job.Errorf(job.CodeInvalid, "this process was started to be a guard, and main went on").WithHint("call rota.GuardMain first in main"))
	}
	faults := p.faults
	p.mu.Unlock()
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	s, err := app.Start(ctx, p.cfg, io.Discard)
	if err != nil {
		return err
	}
	if err := s.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return errors.Join(err, s.Close())
	}
	p.mu.Lock()
	p.running = s
	p.mu.Unlock()
	close(p.ready)
	err = s.Wait(ctx)
	return errors.Join(err, s.Close())
}
