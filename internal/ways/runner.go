package ways

import (
	"context"
	"crypto/x509"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

// Options say what a node executes, and what its owner allows.
type Options struct {
	// Command executes commands on this node; nil: it executes none.
	Command job.Runner
	Secrets secrets.Dir
	// Allow are networks beyond the public internet to which requests may go.
	Allow []netip.Prefix
	// Judge is the node's policy: an error refuses an address, and true allows one that is not public; nil: there is none.
	Judge func(netip.Addr) (allowed bool, err error)
	// AllowInsecureTLS consents to requests that accept any certificate.
	AllowInsecureTLS bool
	Handlers         map[string]Handler
	Logs             *runlog.Dir // nil: none are kept
	Logger           *slog.Logger

	roots *x509.CertPool // of tests; nil: the system's
}

// Runner is a [job.Runner] that passes each execution on to who can carry it out. It is safe for concurrent use.
type Runner struct {
	Options

	mu     sync.Mutex
	closed bool
	alive  map[*execution]bool
	live   sync.WaitGroup
}

var _ job.Adopter = (*Runner)(nil)

// New makes a runner. It takes over neither the runner of commands nor the logs: their maker closes them.
func New(o Options) *Runner {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Handlers = maps.Clone(o.Handlers)
	return &Runner{Options: o, alive: map[*execution]bool{}}
}

// HandlerNames are the names of the handlers, sorted.
func (r *Runner) HandlerNames() []string { return slices.Sorted(maps.Keys(r.Handlers)) }

// Start begins an execution. Its errors have the codes that those of package runner have, and besides CodeNotFound for a
// secret that is not there, and CodeForbidden for what the node's owner does not allow. That nothing answers is no error
// of Start's but a failed run.
func (r *Runner) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return nil, job.Errorf(job.CodeUnavailable, "the runner is closed")
	}
	switch w := e.Way; {
	case w == nil && r.Command == nil:
		return nil, job.Errorf(job.CodeForbidden, "this node runs no commands").WithHint("bind the task to another node, by its labels")
	case w == nil:
		return r.Command.Start(ctx, e)
	case w.HTTP != nil:
		return r.startHTTP(e)
	case w.SSH != nil:
		return r.startSSH(e)
	case w.Handler != "":
		return r.startHandler(e)
	}
	return nil, job.Errorf(job.CodeInvalid, "this version of Rota does not know how to run it")
}

// Hold passes on how long commands that are tied may live. What runs in this process dies with it.
func (r *Runner) Hold(until time.Duration) {
	if r.Command != nil {
		r.Command.Hold(until)
	}
}

// KillAll ends every execution of this runner's own, as Kill does. It does not wait.
func (r *Runner) KillAll(by string) {
	r.mu.Lock()
	alive := slices.Collect(maps.Keys(r.alive))
	r.mu.Unlock()
	for _, x := range alive {
		x.Kill(by)
	}
}

// Close refuses further starts and waits until every execution of this runner's own has ended; it kills nobody. Handlers that
// were left behind are not waited for.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.live.Wait()
	return nil
}

func (r *Runner) add(x *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live.Add(1)
	r.alive[x] = true
}

func (r *Runner) remove(x *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.alive, x)
	r.live.Done()
}

// variable is a variable of an execution's environment, such as ROTA_RUN. The last one of a name counts.
func variable(e *job.Exec, name string) string {
	for _, v := range slices.Backward(e.Env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// Adopt passes on what the runner of commands takes up again. What ran in this process ended with it.
func (r *Runner) Adopt(ctx context.Context) ([]job.Adopted, error) {
	if a, ok := r.Command.(job.Adopter); ok {
		return a.Adopt(ctx)
	}
	return nil, nil
}
