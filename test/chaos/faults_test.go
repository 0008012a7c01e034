package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
)

// fault is one sort of trouble. draw chooses whom it hits, from the dice alone, so that a seed is a schedule.
type fault struct {
	name   string
	often  int                                   // of all, how many parts
	aspect string                                // what of the victim it takes: two at a time do not share it
	draw   func(x *trouble) (victims []*machine) // who must be free for it
	begin  func(x *trouble, v []*machine, dice *rand.Rand) (end func())
}

// faults are all of them.
var faults = []fault{
	{"node cut off", 3, "net", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		return x.cut(both(v, x.k.everybodyBut(v...)))
	}},
	{"node cut off from one master", 1, "net", nodeAndMaster, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		return x.cut(both(v[:1], addrs(v[1:])))
	}},
	{"node hears nothing", 2, "net", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		return x.cut(oneWay(v[0], x.k.everybodyBut(v...)...))
	}},
	{"node is not heard", 2, "net", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		var edges []edge
		for _, m := range x.k.masters {
			edges = append(edges, oneWay(m, v[0].addr)...)
		}
		return x.cut(edges)
	}},
	{"master cut off", 3, "net", oneMaster, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		return x.cut(both(v, x.k.everybodyBut(v...)))
	}},
	{"master cut off from the others", 3, "net", oneMaster, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		return x.cut(both(v, addrs(x.k.masters)))
	}},
	{"master hears no other", 2, "net", oneMaster, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		return x.cut(oneWay(v[0], addrs(x.k.masters)...))
	}},
	{"no master reaches another", 1, "net", allMasters, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		return x.cut(both(v, addrs(v)))
	}},
	{"agent killed", 4, "process", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() { return x.kill(v[0]) }},
	{"guard killed", 2, "process", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		x.guards(v[0], syscall.SIGKILL)
		return func() {}
	}},
	{"agent and guard killed", 2, "process", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		end := x.kill(v[0])
		x.guards(v[0], syscall.SIGKILL)
		return end
	}},
	{"master killed", 4, "process", oneMaster, func(x *trouble, v []*machine, _ *rand.Rand) func() { return x.kill(v[0]) }},
	{"two masters killed", 1, "process", twoMasters, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		a, b := x.kill(v[0]), x.kill(v[1])
		return func() { a(); b() }
	}},
	{"agent stopped", 4, "process", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() { return x.stop(v[0]) }},
	{"guard stopped", 1, "process", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() { return x.stopGuards(v[0]) }},
	{"agent and guard stopped", 1, "process", oneNode, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		guards, agent := x.stopGuards(v[0]), x.stop(v[0])
		return func() { agent(); guards() }
	}},
	{"master stopped", 3, "process", oneMaster, func(x *trouble, v []*machine, _ *rand.Rand) func() { return x.stop(v[0]) }},
	{"clock of a node is wrong", 4, "clock", oneNode, wrongClock},
	{"clock of a master is wrong", 3, "clock", oneMaster, wrongClock},
	{"disk of a node is full", 3, "disk", func(x *trouble) []*machine { return []*machine{x.k.full} }, func(x *trouble, v []*machine, _ *rand.Rand) func() {
		if err := v[0].fill(); err != nil {
			x.k.t.Error(err)
		}
		return v[0].free
	}},
	{"disk of a master is slow", 3, "process", func(x *trouble) []*machine { return []*machine{x.k.slow} }, func(x *trouble, v []*machine, dice *rand.Rand) func() {
		if err := v[0].slow(2 + dice.IntN(20)); err != nil {
			x.sayf("  no disk can be slowed down here: %v", err)
			return func() {}
		}
		return func() { _ = v[0].slow(0) }
	}},
	{"history is down", 3, "history", func(x *trouble) []*machine { return nil }, func(x *trouble, _ []*machine, _ *rand.Rand) func() {
		x.k.pg.Crash()
		return func() { x.k.pg.Restart(x.k.t) }
	}},
}

func oneNode(x *trouble) []*machine {
	return []*machine{x.k.nodes[x.dice.IntN(nodeCount)]}
}

func oneMaster(x *trouble) []*machine {
	return []*machine{x.k.masters[x.dice.IntN(masterCount)]}
}

func nodeAndMaster(x *trouble) []*machine { return append(oneNode(x), oneMaster(x)...) }

func twoMasters(x *trouble) []*machine {
	v := slices.Clone(x.k.masters)
	x.dice.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
	return v[:2]
}

func allMasters(x *trouble) []*machine { return x.k.masters }

// wrongClock sets a clock back or forward by up to a minute and a half, mostly by a few seconds.
func wrongClock(x *trouble, v []*machine, dice *rand.Rand) func() {
	off := time.Duration(dice.Int64N(int64(10 * time.Second)))
	if dice.IntN(3) == 0 {
		off = time.Duration(dice.Int64N(int64(90 * time.Second)))
	}
	if dice.IntN(2) == 0 {
		off = -off
	}
	x.sayf("  by %s", off)
	over := x.mark(&x.clocks, v[0])
	v[0].setClock(off)
	return func() {
		v[0].setClock(0)
		over(10 * time.Second) // what was armed by the wrong clock may still go off
	}
}

// edge is a way that what is sent does not go.
type edge struct {
	to   *machine
	from string
}

func oneWay(to *machine, from ...string) (list []edge) {
	for _, addr := range from {
		if addr != to.addr {
			list = append(list, edge{to, addr})
		}
	}
	return list
}

// both are the ways between machines and addresses, in both directions where the address is a machine's.
func both(ms []*machine, others []string) (list []edge) {
	for _, m := range ms {
		list = append(list, oneWay(m, others...)...)
		for _, o := range m.w.machines {
			if slices.Contains(others, o.addr) {
				list = append(list, oneWay(o, m.addr)...)
			}
		}
	}
	return list
}

func addrs(ms []*machine) (list []string) {
	for _, m := range ms {
		list = append(list, m.addr)
	}
	return list
}

// everybodyBut are the addresses of all others, that of the test and of history among them.
func (k *cluster) everybodyBut(ms ...*machine) []string {
	list := []string{hub}
	for _, m := range k.w.machines {
		if !slices.Contains(ms, m) {
			list = append(list, m.addr)
		}
	}
	return list
}

// cut closes ways. A way that several have closed is open when all of them have ended.
func (x *trouble) cut(edges []edge) func() {
	change := func(by int) {
		touched := map[*machine]bool{}
		for _, e := range edges {
			x.closed[e] += by
			touched[e.to] = true
		}
		for m := range touched {
			var deaf []string
			for e, n := range x.closed {
				if e.to == m && n > 0 {
					deaf = append(deaf, e.from)
				}
			}
			m.hear()
			m.deafTo(deaf...)
		}
	}
	change(1)
	return func() { change(-1) }
}

// kill is kill -9 of a machine's program, which is started again at the end.
func (x *trouble) kill(m *machine) func() {
	x.died(m)
	m.p.Kill()
	return m.p.Start
}

// stop is SIGSTOP of a machine's program.
func (x *trouble) stop(m *machine) func() {
	x.signal(m.p.Pid(), syscall.SIGSTOP)
	return func() { x.signal(m.p.Pid(), syscall.SIGCONT) }
}

// guards sends a signal to all guards of a node.
func (x *trouble) guards(m *machine, sig syscall.Signal) (pids []int) {
	pids = harness.Guards(m.data)
	for _, pid := range pids {
		x.signal(pid, sig)
	}
	return pids
}

func (x *trouble) stopGuards(m *machine) func() {
	over := x.mark(&x.deaf, m)
	pids := x.guards(m, syscall.SIGSTOP)
	return func() {
		for _, pid := range pids {
			x.signal(pid, syscall.SIGCONT)
		}
		over(time.Second)
	}
}

// signal sends a signal to a process that may have ended meanwhile.
func (x *trouble) signal(pid int, sig syscall.Signal) { _ = syscall.Kill(pid, sig) }

// mark notes a span on a machine, until it is told to be over, and a while more.
func (x *trouble) mark(list *[]span, m *machine) (over func(more time.Duration)) {
	i := len(*list)
	*list = append(*list, span{machine: string(job.NodeID(m.name)), from: monotonic(), to: 1 << 62})
	return func(more time.Duration) { (*list)[i].to = monotonic() + int64(more) }
}

func (x *trouble) sayf(format string, args ...any) {
	fmt.Fprintf(x.log, "%s "+format+"\n", append([]any{time.Now().UTC().Format("15:04:05.000")}, args...)...)
}
