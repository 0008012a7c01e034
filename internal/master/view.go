package master

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// view is what a master sees of etcd: the engine's state, and beside it what only the API needs.
type view struct {
	m *Master

	mu        sync.Mutex
	state     *engine.State
	tasks     map[job.TaskRef]*job.TaskEntry
	nodes     map[job.NodeID]*job.Node
	online    map[job.NodeID]*job.Presence
	jobs      map[string]jobAt // by key
	perNode   map[job.NodeID]int
	processes map[string]*job.Process // by key
	dispatch  map[job.RunID]*job.Dispatch
	waiting   map[job.RunID]*job.Waiting
	unlearned chan struct{} // capacity 1: there may be tasks of which history must be looked through
	backfills map[string]*job.Backfill
	// executions are by their ids; groups and their states by their names.
	executions  map[string]*job.GroupExecution
	groups      map[string]*job.Entry[job.Group]
	groupStates map[string]*job.GroupState
	masters     map[string]*store.Master
	tokens      map[string]*store.Token // by hash
	calendars   map[string]*job.CalendarEntry
	templates   map[string]*job.Entry[job.Template]
	receivers   map[string]*job.Entry[job.Receiver]
	monitors    map[string]*job.Entry[job.Monitor]
	pings       map[string]*job.MonitorState        // by monitor
	pingKeys    map[[sha256.Size]byte]string        // the monitors, by the digest of their keys
	using       map[string]map[job.TaskRef]struct{} // the tasks that name a template
	lag         map[job.TaskRef]struct{}            // those that a changed template has not reached yet
	clocks      clocks
	bad         map[string]string // keys of documents that are left alone, and why
	badJobs     map[string]int64  // those of jobs that can't be read, and their revision
	unsynced    int               // collections that were not listed yet
	trails      []*trail

	changed chan struct{} // capacity 1: something for the leader
	moved   *sync.Cond    // broadcast at each change, for who waits for one
}

type jobAt struct {
	task job.TaskRef
	node job.NodeID
	rev  int64
}

func newView(m *Master) *view {
	v := &view{
		m: m, state: engine.New(engine.Options{Lease: m.Lease, Away: max(m.Away, 0)}),
		tasks: map[job.TaskRef]*job.TaskEntry{}, nodes: map[job.NodeID]*job.Node{}, online: map[job.NodeID]*job.Presence{},
		jobs: map[string]jobAt{}, perNode: map[job.NodeID]int{}, processes: map[string]*job.Process{},
		waiting: map[job.RunID]*job.Waiting{}, unlearned: make(chan struct{}, 1),
		dispatch: map[job.RunID]*job.Dispatch{}, backfills: map[string]*job.Backfill{},
		executions: map[string]*job.GroupExecution{}, groups: map[string]*job.Entry[job.Group]{}, groupStates: map[string]*job.GroupState{}, masters: map[string]*store.Master{}, tokens: map[string]*store.Token{},
		calendars: map[string]*job.CalendarEntry{}, templates: map[string]*job.Entry[job.Template]{},
		receivers: map[string]*job.Entry[job.Receiver]{}, monitors: map[string]*job.Entry[job.Monitor]{},
		pings: map[string]*job.MonitorState{}, pingKeys: map[[sha256.Size]byte]string{},
		using: map[string]map[job.TaskRef]struct{}{}, lag: map[job.TaskRef]struct{}{},
		bad: map[string]string{}, badJobs: map[string]int64{}, changed: make(chan struct{}, 1),
		clocks:   clocks{of: map[job.NodeID]*clock{}},
		unsynced: 1, // until all collections are being watched
	}
	v.moved = sync.NewCond(&v.mu)
	return v
}

// watch keeps the view until ctx ends.
func (v *view) watch(ctx context.Context, wg *sync.WaitGroup) {
	s := v.m.store()
	follow(ctx, v, wg, s.Tasks(), client.EventTask, v.task)
	follow(ctx, v, wg, s.Nodes(), client.EventNode, v.node)
	follow(ctx, v, wg, s.Online(), client.EventNode, v.presence)
	follow(ctx, v, wg, s.Jobs(), client.EventJob, v.job)
	follow(ctx, v, wg, s.Processes(), client.EventProcess, v.process)
	follow(ctx, v, wg, s.Dispatches(), client.EventDispatch, v.dispatched)
	follow(ctx, v, wg, s.Backfills(), "", v.backfill)
	follow(ctx, v, wg, s.Groups(), "", v.group)
	follow(ctx, v, wg, s.GroupStates(), "", v.groupState)
	follow(ctx, v, wg, s.Executions(), "", v.execution)
	follow(ctx, v, wg, s.Waiting(), client.EventDispatch, v.waitingRun)
	follow(ctx, v, wg, s.Facts(), "", v.fact)
	follow(ctx, v, wg, s.Config(), "", v.config)
	follow(ctx, v, wg, s.Claims(), "", v.claim)
	follow(ctx, v, wg, s.Settled(), "", v.floor)
	follow(ctx, v, wg, s.Masters(), "", v.master)
	follow(ctx, v, wg, s.Tokens(), "", v.token)
	follow(ctx, v, wg, s.Calendars(), "", v.calendar)
	follow(ctx, v, wg, s.Templates(), "", kept(v.templates, v.stale))
	follow(ctx, v, wg, s.Receivers(), "", kept(v.receivers, func(string) {}))
	follow(ctx, v, wg, s.Monitors(), "", kept(v.monitors, func(string) {}))
	follow(ctx, v, wg, s.Pings(), "", v.pinged)
	follow(ctx, v, wg, s.Replacements(), "", v.replacement)
	v.watchClocks(ctx, wg)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unsynced--
	v.moved.Broadcast()
}

// follow applies a collection's changes to the view, and publishes those that have a type.
func follow[T any](ctx context.Context, v *view, wg *sync.WaitGroup, c *store.Collection[T], event string, apply func(parts []string, value *T, e store.Event[T])) {
	v.mu.Lock()
	v.unsynced++
	v.mu.Unlock()
	w := c.WatchApart(ctx)
	tr := &trail{reach: w.Reach}
	v.with(func() { v.trails = append(v.trails, tr) })
	wg.Go(func() {
		first := true
		for batch := range w.Events() {
			v.mu.Lock()
			for _, e := range batch {
				switch e.Type {
				case store.Reached:
					tr.to = max(tr.to, e.Revision)
				case store.Synced:
					tr.to = max(tr.to, e.Revision)
					if first {
						v.unsynced--
						first = false
					}
				case store.Unreadable:
					v.bad[e.Key] = "can't be read: " + e.Err.Error()
					v.m.Logger.Error("a document can't be read and is left alone", "key", e.Key, "error", e.Err)
					if parts, err := c.Parts(e.Key); err == nil && !lasting(e.Key) {
						apply(parts, nil, e)
					}
				case store.Put, store.Delete:
					delete(v.bad, e.Key)
					parts, err := c.Parts(e.Key)
					if err != nil {
						continue
					}
					value := e.Value
					if e.Type == store.Delete {
						value = nil
					}
					apply(parts, value, e)
				}
			}
			v.moved.Broadcast()
			v.mu.Unlock()
			if !first && event != "" {
				publish(v.m.hub, event, batch)
			}
			v.wake()
		}
	})
}

// lasting tells whether what is known under a key goes on when the document there can't be read any more: a claim is not
// undone because of that. Of the others it does not stand any more, or they say themselves what does.
func lasting(key string) bool {
	switch root, _, _ := strings.Cut(key, "/"); root {
	case "groups", "tasks", "jobs", "nodes", "proc", "dispatch", "waiting", "tokens":
		return false
	}
	return true
}

func publish[T any](h *hub, event string, batch []store.Event[T]) {
	now := time.Now().UTC()
	for _, e := range batch {
		switch e.Type {
		case store.Put:
			h.publish(Event{Type: event, Change: "put", Key: e.Key, At: now, Object: e.Value})
		case store.Delete:
			h.publish(Event{Type: event, Change: "deleted", Key: e.Key, At: now})
		}
	}
}

func (v *view) wake() {
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

func (v *view) synced() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.unsynced == 0
}

// waitSynced waits until the view is whole, or ctx ends.
func (v *view) waitSynced(ctx context.Context) bool {
	for ctx.Err() == nil {
		if v.await(ctx, func() bool { return v.unsynced == 0 }) {
			return true
		}
	}
	return false
}

// with reads the view.
func (v *view) with(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

// await waits until the view fulfils a condition, for a while at most: the view is a moment behind what was
// written, and an answer should not be.
func (v *view) await(ctx context.Context, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.moved.Broadcast()
	})
	defer stop()
	v.mu.Lock()
	defer v.mu.Unlock()
	for !ok() {
		if ctx.Err() != nil {
			return false
		}
		v.moved.Wait()
	}
	return true
}

// The rest is called with the lock held.

func (v *view) task(parts []string, e *job.TaskEntry, ev store.Event[job.TaskEntry]) {
	ref := job.Ref(parts[0], parts[1])
	v.uses(ref, v.tasks[ref], e)
	if e == nil {
		delete(v.tasks, ref)
		if ev.Type == store.Unreadable {
			v.state.Apply(engine.TaskUnreadable{Task: ref})
		} else {
			v.state.Apply(engine.TaskDeleted{Task: ref})
		}
		return
	}
	v.tasks[ref] = e
	v.state.Apply(engine.TaskPut{Entry: e})
	v.askLearn()
}

func (v *view) node(parts []string, n *job.Node, e store.Event[job.Node]) {
	id := job.NodeID(parts[0])
	if e.Type == store.Unreadable { // what is known of it goes on
		v.state.Apply(engine.NodeUnreadable{Node: id})
		return
	}
	if n == nil {
		delete(v.nodes, id)
		v.state.Apply(engine.NodeDeleted{Node: id})
		return
	}
	v.nodes[id] = n
	v.state.Apply(engine.NodePut{Node: n})
}

func (v *view) presence(parts []string, p *job.Presence, _ store.Event[job.Presence]) {
	id, now := job.NodeID(parts[0]), v.m.Now()
	if p == nil {
		delete(v.online, id)
		v.state.Apply(engine.NodeOffline{Node: id, At: now})
		return
	}
	v.online[id] = p
	v.state.Apply(engine.NodeOnline{Presence: p, At: now})
}

func (v *view) job(parts []string, j *job.Job, e store.Event[job.Job]) {
	if old, ok := v.jobs[e.Key]; ok {
		if v.perNode[old.node]--; v.perNode[old.node] == 0 {
			delete(v.perNode, old.node)
		}
		delete(v.jobs, e.Key)
	}
	delete(v.badJobs, e.Key)
	if e.Type == store.Unreadable {
		v.badJobs[e.Key] = e.Revision
	}
	if j == nil {
		v.state.Apply(engine.JobDeleted{Node: job.NodeID(parts[0]), Hash: parts[1]})
		return
	}
	v.jobs[e.Key] = jobAt{j.Ref(), j.NodeID, e.Revision}
	v.perNode[j.NodeID]++
	v.state.Apply(engine.JobPut{Job: j, Revision: e.Revision})
}

func (v *view) process(_ []string, p *job.Process, e store.Event[job.Process]) {
	if p == nil {
		delete(v.processes, e.Key)
		return
	}
	v.processes[e.Key] = p
}

func (v *view) dispatched(parts []string, d *job.Dispatch, _ store.Event[job.Dispatch]) {
	node, run := job.NodeID(parts[0]), job.RunID(parts[1])
	if d == nil {
		delete(v.dispatch, run)
		v.state.Apply(engine.DispatchDeleted{Node: node, Run: run})
		return
	}
	v.dispatch[run] = d
	v.state.Apply(engine.DispatchPut{Dispatch: d})
}

func (v *view) backfill(parts []string, b *job.Backfill, _ store.Event[job.Backfill]) {
	if b == nil {
		delete(v.backfills, parts[2])
		v.state.Apply(engine.BackfillDeleted{ID: parts[2]})
		return
	}
	v.backfills[b.ID] = b
	v.state.Apply(engine.BackfillPut{Backfill: b})
}

func (v *view) config(parts []string, c *store.Config, _ store.Event[store.Config]) {
	if c == nil || !c.DeletedAt.IsZero() {
		v.state.Apply(engine.ConfigDeleted{Group: parts[0], Key: parts[1]})
		return
	}
	v.state.Apply(engine.ConfigPut{Group: c.Group, Key: c.Key, Value: c.Value})
}

func (v *view) claim(parts []string, c *job.Claim, _ store.Event[job.Claim]) {
	if c != nil {
		v.state.Apply(engine.ClaimPut{Claim: c})
		return
	}
	if at, err := job.ParseInstant(parts[2]); err == nil {
		v.state.Apply(engine.ClaimDeleted{Task: job.Ref(parts[0], parts[1]), Instant: at})
	}
}

func (v *view) floor(parts []string, f *store.Floor, _ store.Event[store.Floor]) {
	ref := job.Ref(parts[0], parts[1])
	if f == nil {
		v.state.Apply(engine.FloorDeleted{Task: ref})
		return
	}
	v.state.Apply(engine.FloorPut{Task: ref, At: f.At})
}

func (v *view) master(parts []string, m *store.Master, _ store.Event[store.Master]) {
	if m == nil {
		delete(v.masters, parts[0])
		return
	}
	v.masters[m.ID] = m
}

func (v *view) token(parts []string, t *store.Token, _ store.Event[store.Token]) {
	for hash, old := range v.tokens {
		if old.ID == parts[0] {
			delete(v.tokens, hash)
		}
	}
	if t != nil {
		v.tokens[t.Hash] = t
	}
}
