package sim

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/store"
)

// network is what stands between the processes and etcd, and what makes a process stand still. A process is a node's agent or a
// master, through all of its lives; a client is one life of it.
type network struct {
	d dice

	mu     sync.Mutex
	counts map[string]int // of requests, by who asks for what
	of     map[string]*line
	etcd   line // of everybody
	fast   bool // no delays: nothing is to be learnt from them any more
}

// line is how it stands with a process's connection.
type line struct {
	loud, silent, requests int // how many cuts there are: errors at once, no answers, nothing gets out but all gets in
	answers, late, slow    int
	paused                 int
	change                 chan struct{} // closed when something gets better
}

func newNetwork(d dice) *network {
	return &network{d: d, counts: map[string]int{}, of: map[string]*line{}}
}

func process(client string) string {
	name, _, _ := strings.Cut(client, "#")
	return name
}

// edit changes how a line is. who is a process, or etcd.
func (n *network) edit(who string, f func(l *line)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.line(who)
	f(l)
	if l.change != nil {
		close(l.change)
		l.change = nil
	}
}

func (n *network) line(who string) *line {
	if who == "etcd" {
		return &n.etcd
	}
	if n.of[who] == nil {
		n.of[who] = &line{}
	}
	return n.of[who]
}

// look gives how it stands, and what is closed when that changes.
func (n *network) look(who string) (own, all line, change, allChange <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.line(who)
	for _, x := range []*line{l, &n.etcd} {
		if x.change == nil {
			x.change = make(chan struct{})
		}
	}
	return *l, n.etcd, l.change, n.etcd.change
}

// number counts what somebody does.
func (n *network) number(what string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[what]++
	return strconv.Itoa(n.counts[what])
}

var errSilence = errors.New("no answer: the network is cut")

// stand lets a goroutine of a process stand still while that is paused.
func (n *network) stand(who string) {
	for {
		own, _, change, _ := n.look(who)
		if own.paused == 0 {
			return
		}
		<-change
	}
}

// standAt is stand where the caller is a function that holds no lock: others of its process may wait for that, and a bubble whose
// goroutines wait for a lock is not at rest.
func (n *network) standAt(who, function string) {
	if own, _, _, _ := n.look(who); own.paused == 0 {
		return
	}
	var pcs [4]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, function) {
			n.stand(who)
			return
		}
		if !more {
			return
		}
	}
}

// call is what becomes of a request before and after it is carried out.
func (n *network) call(ctx context.Context, c store.Call) error {
	who := process(c.Client)
	if who == "admin" {
		return nil
	}
	what := c.Client + " " + c.Op
	if len(c.Keys) > 0 {
		what += " " + c.Keys[0]
	}
	if c.After {
		what += " answer"
	}
	number := n.number(what)
	n.stand(who)
	own, all, _, _ := n.look(who)
	most := 2 * time.Millisecond
	if own.slow+all.slow > 0 {
		most = 2 * time.Second
		if n.d.chance(0.7, what, number, "quick") {
			most = 100 * time.Millisecond
		}
	}
	if n.fast {
		most = 200 * time.Microsecond
	}
	if !wait(ctx, n.d.between(50*time.Microsecond, most, what, number, "delay")) {
		n.stand(who)
		return ctx.Err()
	}
	for {
		n.stand(who)
		own, all, change, allChange := n.look(who)
		switch {
		case own.loud+all.loud > 0:
			return store.ErrCut
		case own.silent+all.silent > 0, !c.After && own.requests > 0, c.After && own.answers > 0:
			// TCP tries for long: what was sent arrives when the network is whole again, unless the client has given it up by then.
			if c.After && n.d.chance(0.5, what, number, "reset") {
				return errSilence
			}
			select {
			case <-ctx.Done():
				if !c.After && c.Later != nil && own.requests == 0 && n.d.chance(0.2, what, number, "arrives") {
					c.Later(n.d.between(0, 8*time.Second, what, number, "late"))
				}
				n.stand(who)
				return ctx.Err()
			case <-change:
			case <-allChange:
			}
			continue
		}
		if !c.After && own.late > 0 && c.Later != nil && n.d.chance(0.4, what, number, "is late") {
			c.Later(n.d.between(0, 10*time.Second, what, number, "late"))
			return errSilence
		}
		return nil
	}
}

// tell is what becomes of what a watch is told.
func (n *network) tell(ctx context.Context, t store.Told) error {
	who := process(t.Client)
	if who == "admin" {
		return nil
	}
	what := t.Client + " watch " + t.Key
	most := 2 * time.Millisecond
	own, all, _, _ := n.look(who)
	if own.slow+all.slow > 0 {
		most = 2 * time.Second
	}
	if !n.fast && !wait(ctx, n.d.between(50*time.Microsecond, most, what, strconv.FormatInt(t.Revision, 10))) {
		return nil
	}
	for {
		n.stand(who)
		own, all, change, allChange := n.look(who)
		if own.loud+all.loud > 0 {
			return store.ErrCut
		}
		if own.silent+all.silent+own.answers == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-change:
		case <-allChange:
		}
	}
}

// wait lets time pass; false where ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
