package chaos

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// trouble is a schedule of faults, and what has been done of it.
type trouble struct {
	k      *cluster
	dice   *rand.Rand
	log    *os.File // what happened when
	closed map[edge]int
	clocks []span
	deaf   []span
	events []event
	exits  []string // of programs that nobody killed
}

// event is a fault that begins, or ends.
type event struct {
	at      time.Duration
	fault   *fault
	victims []*machine
	seed    uint64 // of what the fault draws itself
	length  time.Duration
	started *started // the same one at the beginning and at the end
	ends    bool
}

// started is a fault that has begun.
type started struct{ end func() }

// newTrouble draws a schedule of a length.
func newTrouble(k *cluster, seed uint64, length time.Duration) *trouble {
	log, err := os.Create(filepath.Join(k.w.dir, "schedule.log"))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { log.Close() })
	x := &trouble{k: k, dice: rand.New(rand.NewPCG(seed, 6)), log: log, closed: map[edge]int{}}
	x.sayf("seed %d", seed)
	all := 0
	for i := range faults {
		all += faults[i].often
	}
	busy := map[string]time.Duration{} // until when an aspect of a machine is taken
	for at := time.Second; at < length; at += 300*time.Millisecond + time.Duration(x.dice.Int64N(int64(2*time.Second))) {
		n, f := x.dice.IntN(all), &faults[0]
		for i := range faults {
			if f = &faults[i]; n < f.often {
				break
			}
			n -= f.often
		}
		e := event{at: at, fault: f, victims: f.draw(x), seed: x.dice.Uint64(), started: &started{}}
		e.length = 200*time.Millisecond + time.Duration(x.dice.Int64N(int64(4*time.Second)))
		if x.dice.IntN(4) == 0 {
			e.length += 2 * lease // long enough for others to take over
		}
		e.length = min(e.length, length-at)
		taken := func(m *machine) string { return m.name + " " + f.aspect }
		if f.aspect == "history" && at < busy[f.aspect] || slices.ContainsFunc(e.victims, func(m *machine) bool { return at < busy[taken(m)] }) {
			continue
		}
		if f.aspect != "net" {
			for _, m := range e.victims {
				busy[taken(m)] = at + e.length + 200*time.Millisecond
			}
			busy["history"] = max(busy["history"], map[bool]time.Duration{true: at + e.length + time.Second}[f.aspect == "history"])
		}
		over := e
		over.at, over.ends = at+e.length, true
		x.events = append(x.events, e, over)
	}
	slices.SortStableFunc(x.events, func(a, b event) int { return int(a.at - b.at) })
	return x
}

// make makes the trouble. Once it returns, everything that was done to the cluster has been taken back.
func (x *trouble) make() {
	begin := time.Now()
	for _, e := range x.events {
		time.Sleep(time.Until(begin.Add(e.at))) // trouble comes when it comes
		x.watch()
		who := ""
		for _, m := range e.victims {
			who += " " + m.name
		}
		if e.ends {
			x.sayf("over:%s %s", who, e.fault.name)
			e.started.end()
			continue
		}
		x.sayf("%s:%s for %s", e.fault.name, who, e.length.Round(time.Millisecond))
		e.started.end = e.fault.begin(x, e.victims, rand.New(rand.NewPCG(e.seed, 7)))
	}
	x.watch()
	x.sayf("all is healed")
}

// watch notes programs that have ended by themselves, and starts them again.
func (x *trouble) watch() {
	for _, m := range x.k.w.machines {
		if !m.p.Alive() && m.p.ExitCode() != -1 {
			x.exits = append(x.exits, m.name)
			x.sayf("%s ENDED BY ITSELF with %d", m.name, m.p.ExitCode())
			m.p.Start()
		}
	}
}

// died is told before a machine's program is killed.
func (x *trouble) died(*machine) { x.watch() }

// monotonic is the clock that all processes share.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}
