package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// Options are the engine's times. Zero fields take the defaults.
type Options struct {
	// Lease is how long a node's or a master's lease lives; default 10 s.
	Lease time.Duration
}

// State is what the engine knows. It is not safe for concurrent use.
type State struct {
	lease time.Duration

	tasks      map[job.TaskRef]*task
	nodes      map[job.NodeID]*node
	byHash     map[string]jobAt // a job's hash to its task and node
	dispatches map[dispatchKey]*job.Dispatch
	config     map[configKey]string

	// began is since when the state is watched: nobody is judged for an absence from before.
	began time.Time

	dirtyTasks map[job.TaskRef]bool // to be placed anew on every node
	dirtyNodes map[job.NodeID]bool  // to be matched anew with every task
}

type task struct {
	ref     job.TaskRef
	entry   *job.TaskEntry // nil: deleted; its jobs and claims may remain
	rule    *job.Rule      // parsed; of the entry
	names   []string       // the configuration that its values name
	stamp   string
	jobs    map[job.NodeID]jobState
	account account
}

type jobState struct {
	rev   int64
	stamp string
	since time.Time
}

type jobAt struct {
	ref  job.TaskRef
	node job.NodeID
}

type node struct {
	node     *job.Node     // nil: known by its presence alone
	presence *job.Presence // nil: offline
	changed  time.Time     // when the presence came, went, or became another session's
}

type dispatchKey struct {
	node job.NodeID
	run  job.RunID
}

type configKey struct{ group, key string }

// New makes an empty state.
func New(o Options) *State {
	if o.Lease <= 0 {
		o.Lease = 10 * time.Second
	}
	return &State{
		lease: o.Lease,
		tasks: map[job.TaskRef]*task{}, nodes: map[job.NodeID]*node{}, byHash: map[string]jobAt{},
		dispatches: map[dispatchKey]*job.Dispatch{}, config: map[configKey]string{},
		dirtyTasks: map[job.TaskRef]bool{}, dirtyNodes: map[job.NodeID]bool{},
	}
}

// Event is something that happened: a key that changed, or a record that history took in.
type Event interface{ apply(s *State) }

// The events. Those of keys carry what the store now has; the deletions name what is gone.
type (
	// Began tells that the state is whole from here on; who is absent now has a whole lease to come back.
	Began       struct{ At time.Time }
	TaskPut     struct{ Entry *job.TaskEntry }
	TaskDeleted struct{ Task job.TaskRef }
	NodePut     struct{ Node *job.Node }
	NodeDeleted struct{ Node job.NodeID }
	// NodeOnline and NodeOffline tell of a node's presence, and when it was seen to change.
	NodeOnline struct {
		Presence *job.Presence
		At       time.Time
	}
	NodeOffline struct {
		Node job.NodeID
		At   time.Time
	}
	JobPut struct {
		Job      *job.Job
		Revision int64
	}
	JobDeleted struct {
		Node job.NodeID
		Hash string
	}
	DispatchPut     struct{ Dispatch *job.Dispatch }
	DispatchDeleted struct {
		Node job.NodeID
		Run  job.RunID
	}
	ConfigPut struct {
		Group, Key, Value string // group "": global
	}
	ConfigDeleted struct{ Group, Key string }
	ClaimPut      struct{ Claim *job.Claim }
	ClaimDeleted  struct {
		Task    job.TaskRef
		Instant time.Time
	}
	// FloorPut tells up to which instant everything of a claimed task is settled.
	FloorPut struct {
		Task job.TaskRef
		At   time.Time
	}
	FloorDeleted struct{ Task job.TaskRef }
	// Recorded tells that history accounts for an instant, or for the instants up to Until.
	Recorded struct {
		Task           job.TaskRef
		Instant, Until time.Time
	}
	// Done and Refused tell what came of an action. Nothing else tells of a write before the watch does.
	Done    struct{ Action Action }
	Refused struct{ Action Action }
)

// Apply takes events in, in the order in which they happened. Applying one twice is applying it once.
func (s *State) Apply(events ...Event) {
	for _, e := range events {
		e.apply(s)
	}
}

func (s *State) task(ref job.TaskRef) *task {
	t := s.tasks[ref]
	if t == nil {
		t = &task{ref: ref, jobs: map[job.NodeID]jobState{}}
		s.tasks[ref] = t
	}
	return t
}

// forget drops a deleted task of which nothing is left.
func (s *State) forget(t *task) {
	if t.entry == nil && len(t.jobs) == 0 && t.account.empty() {
		delete(s.tasks, t.ref)
		delete(s.dirtyTasks, t.ref)
	}
}

func (e Began) apply(s *State) { s.began = e.At.Add(s.lease - s.patience()) }

func (e TaskPut) apply(s *State) {
	t := s.task(e.Entry.Ref())
	if t.entry != nil && t.entry.Revision >= e.Entry.Revision && e.Entry.Revision > 0 {
		return
	}
	t.entry, t.rule = e.Entry, e.Entry.Task.Rule()
	if t.rule.Valid() != nil {
		t.rule = nil // it was valid when it was stored; another version may read it otherwise
	}
	if p := e.Entry.Prior; p != nil && p.Schedule == nil && p.Valid() != nil {
		t.entry.Prior = nil
	}
	t.names = e.Entry.Task.ConfigNames()
	t.account.next = time.Time{}
	s.dirtyTasks[t.ref] = true
}

func (e TaskDeleted) apply(s *State) {
	if t := s.tasks[e.Task]; t != nil {
		t.entry, t.rule, t.names = nil, nil, nil
		s.dirtyTasks[e.Task] = true
		s.forget(t)
	}
}

func (s *State) node(id job.NodeID) *node {
	n := s.nodes[id]
	if n == nil {
		n = &node{}
		s.nodes[id] = n
	}
	return n
}

func (e NodePut) apply(s *State) {
	n := s.node(e.Node.ID)
	if n.node != nil && n.node.Cordoned == e.Node.Cordoned && maps.Equal(n.node.Labels, e.Node.Labels) {
		n.node = e.Node
		return
	}
	n.node = e.Node
	s.dirtyNodes[e.Node.ID] = true
}

func (e NodeDeleted) apply(s *State) {
	n := s.nodes[e.Node]
	if n == nil {
		return
	}
	n.node = nil
	if n.presence == nil {
		delete(s.nodes, e.Node)
	}
	s.dirtyNodes[e.Node] = true
}

func (e NodeOnline) apply(s *State) {
	n := s.node(e.Presence.Node)
	if n.presence == nil || n.presence.Session != e.Presence.Session {
		n.changed = e.At
	}
	n.presence = e.Presence
}

func (e NodeOffline) apply(s *State) {
	n := s.nodes[e.Node]
	if n == nil || n.presence == nil {
		return
	}
	n.presence, n.changed = nil, e.At
	if n.node == nil {
		delete(s.nodes, e.Node)
	}
}

func (e JobPut) apply(s *State) {
	ref := e.Job.Ref()
	t := s.task(ref)
	if old, ok := t.jobs[e.Job.NodeID]; ok && old.rev >= e.Revision {
		return
	}
	t.jobs[e.Job.NodeID] = jobState{rev: e.Revision, stamp: e.Job.Stamp, since: e.Job.Since}
	s.byHash[e.Job.Hash] = jobAt{ref, e.Job.NodeID}
	if t.entry == nil || e.Job.Stamp != t.stamp {
		s.dirtyTasks[ref] = true
	}
}

func (e JobDeleted) apply(s *State) {
	at, ok := s.byHash[e.Hash]
	if !ok {
		return
	}
	delete(s.byHash, e.Hash)
	if t := s.tasks[at.ref]; t != nil {
		delete(t.jobs, at.node)
		s.dirtyTasks[at.ref] = true
		s.forget(t)
	}
}

func (e DispatchPut) apply(s *State) {
	k := dispatchKey{e.Dispatch.Node, e.Dispatch.Run}
	if old := s.dispatches[k]; old != nil && old.Revision >= e.Dispatch.Revision && e.Dispatch.Revision > 0 {
		return
	}
	s.dispatches[k] = e.Dispatch
}

func (e DispatchDeleted) apply(s *State) { delete(s.dispatches, dispatchKey{e.Node, e.Run}) }

func (e ConfigPut) apply(s *State) {
	k := configKey{e.Group, e.Key}
	if old, ok := s.config[k]; ok && old == e.Value {
		return
	}
	s.config[k] = e.Value
	s.configChanged(k)
}

func (e ConfigDeleted) apply(s *State) {
	k := configKey{e.Group, e.Key}
	if _, ok := s.config[k]; ok {
		delete(s.config, k)
		s.configChanged(k)
	}
}

func (s *State) configChanged(k configKey) {
	for ref, t := range s.tasks {
		if (k.group == "" || k.group == ref.Group) && slices.Contains(t.names, k.key) {
			s.dirtyTasks[ref] = true
		}
	}
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

// absent tells whether a session has been gone for so long that it is judged dead: its node is offline, or
// online with another session, and has been for longer than the patience that a hiccup is given.
func (s *State) absent(id job.NodeID, session string, now time.Time) bool {
	n := s.nodes[id]
	if n == nil {
		return now.Sub(s.began) >= s.patience()
	}
	if n.presence != nil && n.presence.Session == session {
		return false
	}
	return now.Sub(latest(n.changed, s.began)) >= s.patience()
}

// patience is what passes between the end of a lease and the judgement that its holder is dead.
func (s *State) patience() time.Duration { return s.lease / 2 }

func (s *State) online(id job.NodeID) bool {
	n := s.nodes[id]
	return n != nil && n.presence != nil
}

// sortedRefs lists the references of a set in their order, so that a plan is the same each time.
func sortedRefs[V any](m map[job.TaskRef]V) []job.TaskRef {
	return slices.SortedFunc(maps.Keys(m), func(a, b job.TaskRef) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
}

func (e Done) apply(s *State) {
	switch a := e.Action.(type) {
	case PutJob:
		// Its revision comes with the watch. Until then a further write is refused, and planned anew.
		t := s.task(a.Job.Ref())
		if old := t.jobs[a.Job.NodeID]; old.rev == a.Revision {
			t.jobs[a.Job.NodeID] = jobState{rev: old.rev, stamp: a.Job.Stamp, since: a.Job.Since}
			s.byHash[a.Job.Hash] = jobAt{a.Job.Ref(), a.Job.NodeID}
		}
	case DeleteJob:
		if at, ok := s.byHash[a.Hash]; ok && s.tasks[at.ref].jobs[at.node].rev == a.Revision {
			JobDeleted{Node: a.Node, Hash: a.Hash}.apply(s)
		}
	case FailDispatch:
		DispatchDeleted{Node: a.Dispatch.Node, Run: a.Dispatch.Run}.apply(s)
	case InitFloor:
		FloorPut{Task: a.Task, At: a.At}.apply(s)
	case Settle:
		FloorPut{Task: a.Task, At: a.To}.apply(s)
	case DropTask:
		if t := s.tasks[a.Task]; t != nil {
			t.account = account{}
			s.forget(t)
		}
	}
}

func (e Refused) apply(s *State) {
	switch a := e.Action.(type) {
	case PutJob:
		if s.tasks[a.Job.Ref()] != nil {
			s.dirtyTasks[a.Job.Ref()] = true
		}
	case DeleteJob:
		if at, ok := s.byHash[a.Hash]; ok {
			s.dirtyTasks[at.ref] = true
		}
	}
}
