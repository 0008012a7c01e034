//go:build linux

package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

// Client is the agent's end: a [job.Adopter] that has its commands run by a guard. It is safe for concurrent use.
type Client struct {
	o        Options
	log      *slog.Logger
	next     atomic.Uint64
	turn     chan struct{} // held by who starts a guard
	children sync.WaitGroup

	mu      sync.Mutex
	links   map[*link]struct{}
	current *link // gets the runs; nil: there is none
	closed  bool
}

var _ job.Adopter = (*Client)(nil)

// New makes the folder of the guards. No guard is started yet: that is done by Adopt, and by Start where there is none.
func New(o Options) (*Client, error) {
	if o.Program == "" {
		o.Program, o.Args = "/proc/self/exe", []string{"rota", "guard"} // this program, also when its file was replaced
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Leftover == nil {
		o.Leftover = runner.EndLeftover
	}
	dir, err := filepath.Abs(o.Dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("the guards' folder: %w", err)
	}
	o.Dir = dir
	c := &Client{o: o, log: o.Logger, links: map[*link]struct{}{}, turn: make(chan struct{}, 1)}
	c.next.Store(uint64(time.Now().UnixNano())) // so that no two lives of an agent give the same number
	return c, nil
}

func (c *Client) id() uint64 { return c.next.Add(1) }

func (c *Client) logPath() string { return filepath.Join(c.o.Dir, logName) }

// Start begins an execution in the present guard, or in another where that gets no more. An execution of which the guard died in the
// middle of its start is returned as one that is lost, without a pid.
func (c *Client) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	for {
		l, err := c.guard(ctx)
		if err != nil {
			return nil, err
		}
		if x, err := l.start(ctx, e); !errors.Is(err, errGone) {
			return x, err
		}
	}
}

// Hold tells all guards.
func (c *Client) Hold(until time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.links {
		l.n.send(&message{Kind: kindHold, Until: until})
	}
}

// Adopt finds the guards of earlier lives in the folder, and starts one if none of them is of this build.
func (c *Client) Adopt(ctx context.Context) ([]job.Adopted, error) {
	entries, err := os.ReadDir(c.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for guards: %w", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	var all []job.Adopted
	for _, e := range entries {
		dir := filepath.Join(c.o.Dir, e.Name())
		if !e.IsDir() || !ownFolder(dir) {
			continue
		}
		wg.Go(func() {
			found, err := c.adopt(ctx, dir)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	if _, err := c.guard(ctx); err != nil {
		c.log.Error("no guard could be started yet", "error", err) // each start tries again
	}
	return all, errors.Join(errs...)
}

// adopt takes up what the guard of a folder holds. A dead one's folder is removed.
func (c *Client) adopt(ctx context.Context, dir string) ([]job.Adopted, error) {
	l, err := c.connect(ctx, dir, nil)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) || errors.Is(err, errGone) {
		return nil, removeFolder(dir)
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	found := l.adopted
	l.adopted = nil
	l.drains = l.build != c.o.Build
	l.drained()
	drains := l.drains
	l.mu.Unlock()
	for _, a := range found {
		x, _ := a.Execution.(*execution)
		select {
		case <-x.begun: // or it never will
		case <-l.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if !drains {
		l.openStash(ctx)
	}
	c.mu.Lock()
	if c.current == nil && !drains {
		c.current = l
	}
	c.mu.Unlock()
	c.log.Info("a guard was found", "guard", l.pid, "runs", len(found), "build", l.build, "drains", drains)
	return found, nil
}

// guard is the one that gets the runs; it is started where there is none.
func (c *Client) guard(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, closed := c.current, c.closed
		c.mu.Unlock()
		if closed {
			return nil, job.Errorf(job.CodeUnavailable, "the runner is closed")
		}
		if l != nil && l.usable() {
			return l, nil
		}
		select {
		case c.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a guard: %w", context.Cause(ctx))
		}
		err := c.renew(ctx, l)
		<-c.turn
		if err != nil {
			return nil, err
		}
	}
}

func (l *link) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takesRuns()
}

// takesRuns tells whether the guard may get further runs. l.mu is held.
func (l *link) takesRuns() bool { return !l.dead && !l.drains && !l.closed }

// renew starts a guard in place of one, unless somebody else just did.
func (c *Client) renew(ctx context.Context, old *link) error {
	c.mu.Lock()
	same := c.current == old && !c.closed
	c.mu.Unlock()
	if !same {
		return nil
	}
	own := &child{ended: make(chan struct{})}
	dir, err := c.spawn(func(state string) {
		own.state = state
		close(own.ended)
	})
	if err != nil {
		return c.noGuard(err)
	}
	l, err := c.connect(ctx, dir, own)
	if err != nil {
		patience := endPatience // where it refuses or breaks off, its end can be seen in a moment
		if ctx.Err() != nil {
			patience = 0 // it ends by itself, as nobody comes
		}
		select {
		case <-own.ended:
			err = errors.Join(fmt.Errorf("%w: %s", err, own.state), removeFolder(dir))
		case <-time.After(patience):
		}
		return c.noGuard(err)
	}
	l.openStash(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = l
	if c.closed {
		l.mu.Lock()
		l.leave()
		l.mu.Unlock()
	}
	return nil
}

func (c *Client) noGuard(err error) error {
	return job.Errorf(job.CodeUnavailable, "start the guard that runs the commands: %w", err).WithHint("see %s", c.logPath())
}

// connect connects to the guard of a folder and waits until it is known what it holds. A guard that does not say so is woken, should
// it be stopped, and killed if that does not help: who knows which of its runs live must not wait for ever.
func (c *Client) connect(ctx context.Context, dir string, own *child) (*link, error) {
	u, err := dial(dir)
	if err != nil {
		return nil, fmt.Errorf("connect to the guard in %s: %w", dir, err)
	}
	l := &link{
		c: c, dir: dir, own: own, ready: make(chan struct{}), gone: make(chan struct{}),
		execs: map[uint64]*execution{}, starts: map[uint64]*starting{}, token: c.id(),
	}
	if cred, err := peer(u); err == nil && int(cred.Pid) != os.Getpid() {
		l.peer = int(cred.Pid)
	}
	if l.n, err = newConn(u); err != nil {
		return nil, err
	}
	l.n.send(&message{Kind: kindHello, ID: l.token, Build: c.o.Build})
	c.mu.Lock()
	c.links[l] = struct{}{}
	c.mu.Unlock()
	go l.read()
	var ended chan struct{}
	if own != nil {
		ended = own.ended
	}
	look := time.NewTimer(c.o.Patience / 2)
	defer look.Stop()
	for woken := false; ; woken = true {
		select {
		case <-l.ready:
			return l, nil
		case <-l.gone:
			if own != nil {
				return nil, errors.New("it ended at once")
			}
			return nil, errGone
		case <-ended:
			l.abandon()
			return nil, errors.New("it ended at once")
		case <-ctx.Done():
			l.abandon()
			return nil, context.Cause(ctx)
		case <-look.C:
			if !woken {
				wake(l.peer)
				look.Reset(c.o.Patience)
				continue
			}
			c.log.Error("a guard does not answer and is killed; its runs are lost", "guard", l.peer)
			l.n.fail()
			<-l.gone
			return nil, errGone
		}
	}
}

// abandon ends a connection that never came to anything.
func (l *link) abandon() {
	l.mu.Lock()
	l.leave()
	l.mu.Unlock()
}

// drop is told that a link has ended.
func (c *Client) drop(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
}

// Close leaves the guards: those that hold nothing end, and are waited for; those that hold runs go on, and their runs are
// adopted by the next life of the agent. Nothing may be asked of the client's executions after it.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	links := make([]*link, 0, len(c.links))
	for l := range c.links {
		links = append(links, l)
	}
	c.mu.Unlock()
	c.turn <- struct{}{} // nobody is starting one
	defer func() { <-c.turn }()
	for _, l := range links {
		l.mu.Lock()
		own := l.stash
		l.drains = true
		l.mu.Unlock()
		if own != nil {
			own.starts.Wait()
		}
		l.mu.Lock()
		idle := len(l.execs) == 0 && len(l.starts) == 0
		for _, x := range l.execs {
			if x.own != nil {
				l.stash.handOver(x)
			}
		}
		l.leave()
		l.mu.Unlock()
		<-l.gone
		if idle && own != nil {
			<-own.over
		}
		if idle && l.own != nil {
			l.await()
		}
	}
	return nil
}

// await waits for the end of a guard that holds nothing.
func (l *link) await() {
	t := time.NewTimer(l.c.o.Patience)
	defer t.Stop()
	select {
	case <-l.own.ended:
	case <-t.C:
		l.c.log.Warn("a guard that holds nothing does not end", "guard", l.process())
	}
}
