package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// watch measures what a node is told of the jobs of another one: what goes over its wire from etcd.
func (b *bench) watch(ctx context.Context) ([]figure, error) {
	n := b.size(1000, 50)
	share := figure{
		Key: "watch/foreign", What: fmt.Sprintf("what a node reads of %d jobs of another node, of what that node reads", n), Unit: "%", Goal: atMost(1),
		Note: "all bytes from etcd meanwhile; its lease and its clock are among them",
	}
	each := figure{Key: "watch/own", What: "what a node reads of a job of its own, until it fires it", Unit: "B"}
	for range b.rounds {
		foreign, own, err := b.watched(ctx, n)
		if err != nil {
			return nil, err
		}
		share.Rounds = append(share.Rounds, 100*float64(foreign)/float64(own))
		each.Rounds = append(each.Rounds, float64(own)/float64(n))
	}
	return []figure{share, each}, nil
}

func (b *bench) watched(ctx context.Context, n int) (foreign, own int64, err error) {
	etcd, err := port.Free()
	if err != nil {
		return 0, 0, err
	}
	m, err := b.boot(ctx, b.folder(), "master", "--name", "m1", "--etcd-listen", "http://"+etcd)
	if err != nil {
		return 0, 0, err
	}
	defer m.stop()
	var wires [2]*wire
	for i, name := range []string{"n1", "n2"} {
		if wires[i], err = newWire(etcd); err != nil {
			return 0, 0, err
		}
		defer wires[i].close()
		node, err := b.boot(ctx, b.folder(), "node", "--name", name, "--etcd", "http://"+wires[i].addr())
		if err != nil {
			return 0, 0, err
		}
		defer node.stop()
	}
	// A task that n2 fires after it has read the others tells that it has.
	tasks := make([]job.Task, n+1)
	for i := range tasks {
		tasks[i] = job.Task{Name: fmt.Sprint("t", i), Command: job.Args("/bin/true"), Timer: "0 0 1 1 *", Nodes: []job.NodeID{"n2"}}
	}
	tick := tasks[n]
	tick.Timer = "* * * * * *"
	before := [2]int64{wires[0].read.Load(), wires[1].read.Load()}
	if err := m.apply(ctx, tasks[:n]); err != nil {
		return 0, 0, err
	}
	if err := await(ctx, 50*time.Millisecond, time.Minute, "all are placed", func() (bool, error) {
		list, err := m.client.Jobs(ctx, client.JobFilter{Node: "n2"})
		return len(list) >= n, err
	}); err != nil {
		return 0, 0, err
	}
	if _, err := m.client.Apply(ctx, []job.Task{tick}, client.ApplyOptions{}); err != nil {
		return 0, 0, err
	}
	if _, err := b.firstAfter(ctx, m, tick.Ref(), time.Time{}); err != nil {
		return 0, 0, err
	}
	return wires[0].read.Load() - before[0], wires[1].read.Load() - before[1], nil
}

// wire is a way to etcd on which bytes are counted.
type wire struct {
	l    net.Listener
	read atomic.Int64 // from etcd
	wg   sync.WaitGroup
	mu   sync.Mutex
	open []net.Conn
}

func newWire(to string) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{l: l}
	w.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, in, out)
			w.mu.Unlock()
			w.wg.Go(func() { copyAll(out, in) })
			w.wg.Go(func() { copyAll(in, io.TeeReader(out, counter{&w.read})) })
		}
	})
	return w, nil
}

// copyAll copies until either side ends, and then ends the other.
func copyAll(to net.Conn, from io.Reader) {
	_, _ = io.Copy(to, from) // a connection that ends is no fault
	to.Close()
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

func (w *wire) addr() string { return w.l.Addr().String() }

func (w *wire) close() {
	w.l.Close()
	w.mu.Lock()
	for _, c := range w.open {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}
