package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Options are the engine's times. Zero fields take the defaults.
type Options struct {
	// Lease is how long a node's or a master's lease lives; default 10 s.
	Lease time.Duration
	// Away is how old the oldest instant may become that a node owes which is away, before all of them are told as missed; 0: they
	// wait for the node.
	Away time.Duration
}

// State is what the engine knows. It is not safe for concurrent use.
//
// Nothing in it grows with the number of instants or records but what lies above the floors, nor does an
// ordinary plan look at every task or node: what changed is in the dirty sets, what time brings about in the heap of wakes.
type State struct {
	lease time.Duration
	away  time.Duration
	debts debts // see away.go

	tasks      map[job.TaskRef]*task
	nodes      map[job.NodeID]*node
	labelled   map[label]map[job.NodeID]struct{} // the nodes that carry a label
	byHash     map[string]*task                  // of each job
	dispatches map[dispatchKey]*job.Dispatch
	waiting    map[job.NodeID]int // dispatches on each node
	backfills  map[string]*backfill
	executions map[string]*execution
	stepRuns   map[job.RunID]*execution // the runs that executions have asked for, or may have
	groups     map[string]*group
	config     map[configKey]string
	naming     map[string]map[*task]struct{} // the tasks whose values name a configuration
	calendars  map[string]*job.CalendarEntry
	excluding  map[string]map[*task]struct{} // the tasks that name a calendar, known or not
	slow       map[job.NodeID]time.Duration  // how far clocks are behind, where it matters; see clocks.go
	unreadable map[job.NodeID]struct{}       // nodes whose documents can't be read here, and were not before
	limited    map[*task]struct{}            // the tasks with max_nodes
	picked     map[*task][]job.NodeID        // what those in a party chose, while that must not change; else nil
	placedNow  map[*task]bool                // of those, the ones that the present plan has placed
	departed   map[job.NodeID]struct{}       // nodes that went away, and whose place nobody has yet
	arrived    bool                          // a node has come
	load       map[job.NodeID]int            // the jobs on each node
	promised   map[job.NodeID]int            // those that the present plan adds
	placing    time.Time                     // the time of the present plan
	wishes     map[dispatchKey]*wish         // of runs that wait for the end of another; see replace.go

	began   time.Time // since when the state is watched: nobody is judged for an absence from before
	planned time.Time // the time of the last plan
	judged  time.Time // when the dispatches were looked at

	depended  map[job.TaskRef]map[*task]struct{} // the tasks that depend on a task, known or not
	fellows   map[job.TaskRef]map[*task]struct{} // of those, the ones that must be on the same node
	unlearned map[job.TaskRef]struct{}           // of which history must be looked through; see depends.go
	idle      map[*task]struct{}                 // of which facts are kept, and nobody asks any more
	expiring  map[*task]struct{}                 // those with a dependency that may become too old
	expires   time.Time                          // when the next one does
	looked    time.Time                          // when they were looked at
	stirred   map[*task][]job.NodeID             // of which something may start, on these nodes; nil: anywhere
	starters  map[*task]struct{}                 // those that start by themselves, or what they depend on
	came      map[job.NodeID]struct{}            // nodes on which something may start that could not before
	queued    map[*task]struct{}                 // those with runs that wait
	givesUp   time.Time                          // when the next of these has waited for too long
	alive     map[string]int                     // dispatches, by job

	dirtyTasks map[*task]struct{}      // to be placed anew on every node
	queue      []*task                 // of those, in order, what the present round has still to place
	dirtyNodes map[job.NodeID]struct{} // to be matched anew with every task
	roused     map[*task]struct{}      // of whose account something is new
	wakes      wakes                   // of whose account time alone may bring something
}

type task struct {
	ref        job.TaskRef
	written    *job.TaskEntry // as it is kept; nil: deleted, or unreadable
	entry      *job.TaskEntry // with its calendars resolved; nil: deleted; its jobs and claims may remain
	rule       *job.Rule      // of the entry, parsed; nil: there is none, or it can't be read here
	where      job.Selector   // of the entry, parsed
	calendars  []string       // that it names
	lacks      string         // of them, one that there is not; then the task is unreadable
	unreadable bool           // there is an entry, which can't be read here: everything of it is left alone
	names      []string       // the configuration that its values name
	stamp      uint64         // what its jobs must carry; 0: not known before it is placed
	jobs       map[job.NodeID]jobState
	placed     bool // it has had a job since it was created, as far as was seen
	account    account
	depends    []job.Depend               // of the entry
	requests   map[job.RunID]*job.Waiting // runs that wait for them
	known
}

// jobState is all that is kept of a job: there may be millions.
type jobState struct {
	rev   int64
	stamp uint64
	since int64 // Unix nanoseconds
}

type node struct {
	id       job.NodeID
	node     *job.Node     // nil: known by its presence alone, or unreadable
	presence *job.Presence // nil: offline
	changed  time.Time     // when the presence came, went, or became another session's
}

type (
	dispatchKey struct {
		node job.NodeID
		run  job.RunID
	}
	configKey struct{ group, key string }
	label     struct{ key, value string }
)

// New makes an empty state.
func New(o Options) *State {
	if o.Lease <= 0 {
		o.Lease = 10 * time.Second
	}
	return &State{
		lease: o.Lease, away: o.Away,
		tasks: map[job.TaskRef]*task{}, nodes: map[job.NodeID]*node{}, labelled: map[label]map[job.NodeID]struct{}{},
		byHash: map[string]*task{}, dispatches: map[dispatchKey]*job.Dispatch{}, waiting: map[job.NodeID]int{}, backfills: map[string]*backfill{},
		executions: map[string]*execution{}, stepRuns: map[job.RunID]*execution{}, groups: map[string]*group{},
		config: map[configKey]string{}, naming: map[string]map[*task]struct{}{},
		calendars: map[string]*job.CalendarEntry{}, excluding: map[string]map[*task]struct{}{}, wishes: map[dispatchKey]*wish{}, slow: map[job.NodeID]time.Duration{}, unreadable: map[job.NodeID]struct{}{},
		limited: map[*task]struct{}{}, departed: map[job.NodeID]struct{}{}, load: map[job.NodeID]int{}, promised: map[job.NodeID]int{},
		depended: map[job.TaskRef]map[*task]struct{}{}, fellows: map[job.TaskRef]map[*task]struct{}{}, unlearned: map[job.TaskRef]struct{}{}, idle: map[*task]struct{}{}, expiring: map[*task]struct{}{},
		stirred: map[*task][]job.NodeID{}, starters: map[*task]struct{}{}, came: map[job.NodeID]struct{}{}, queued: map[*task]struct{}{}, alive: map[string]int{},
		dirtyTasks: map[*task]struct{}{}, dirtyNodes: map[job.NodeID]struct{}{}, roused: map[*task]struct{}{},
	}
}

func (s *State) task(ref job.TaskRef) *task {
	t := s.tasks[ref]
	if t == nil {
		t = &task{ref: ref, jobs: map[job.NodeID]jobState{}, account: account{index: asleep}}
		s.tasks[ref] = t
	}
	return t
}

// forget drops a deleted task of which nothing is left.
func (s *State) forget(t *task) {
	if t.entry == nil && !t.unreadable && len(t.jobs) == 0 && t.account.empty() && len(t.facts) == 0 && len(t.requests) == 0 {
		delete(s.tasks, t.ref)
		delete(s.stirred, t)
		delete(s.idle, t)
		delete(s.unlearned, t.ref)
		delete(s.dirtyTasks, t)
		delete(s.roused, t)
		s.wakes.sleep(t)
	}
}

func (s *State) dirty(t *task) { s.dirtyTasks[t] = struct{}{} }

func (s *State) rouse(t *task) { s.roused[t] = struct{}{} }

// claimed tells whether each instant of the task is one node's, which must claim it.
func (t *task) claimed() bool {
	return t.entry != nil && t.rule != nil && t.rule.Mode == job.Cycle && t.entry.Task.Kind.Kind().Claimed()
}

func (s *State) node(id job.NodeID) *node {
	n := s.nodes[id]
	if n == nil {
		n = &node{id: id}
		s.nodes[id] = n
	}
	return n
}

// present tells whether a session is alive.
func (s *State) present(id job.NodeID, session string) bool {
	n := s.nodes[id]
	return n != nil && n.presence != nil && n.presence.Session == session
}

// carries tells whether a node goes on with the run of an instant that an earlier session of it claimed.
func (s *State) carries(id job.NodeID, run job.RunID) bool {
	n := s.nodes[id]
	return n != nil && n.presence != nil && slices.Contains(n.presence.Carries, run)
}

// gone tells whether a node has been offline for so long that it is judged dead.
func (s *State) gone(id job.NodeID, now time.Time) bool {
	n := s.nodes[id]
	switch {
	case n == nil:
		return now.Sub(s.began) >= s.patience()
	case n.presence != nil:
		return false
	}
	return now.Sub(latest(n.changed, s.began)) >= s.patience()
}

// patience is what passes between the end of a lease and the judgement that its holder is dead: a hiccup is no death.
func (s *State) patience() time.Duration { return s.lease / 2 }

func (s *State) online(id job.NodeID) bool {
	n := s.nodes[id]
	return n != nil && n.presence != nil
}

// configFor is the configuration that a task's values name: of its group, else global.
func (s *State) configFor(t *task) map[string]string {
	if len(t.names) == 0 {
		return nil
	}
	values := map[string]string{}
	for _, name := range t.names {
		if v, ok := s.config[configKey{t.ref.Group, name}]; ok {
			values[name] = v
		} else if v, ok := s.config[configKey{"", name}]; ok {
			values[name] = v
		}
	}
	return values
}

// byRef orders tasks, so that a plan is the same each time.
func byRef(a, b *task) int {
	return cmp.Or(cmp.Compare(a.ref.Group, b.ref.Group), cmp.Compare(a.ref.Name, b.ref.Name))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
