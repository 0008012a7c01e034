package engine_test

import (
	"maps"
	"slices"
	"time"

	"github.com/rota-dev/rota/internal/engine"
	"github.com/rota-dev/rota/job"
)

// lease is that of every test.
const lease = 10 * time.Second

// world is the store and the history that the engine's actions are carried out on: each write has the condition
// that the real one has, and each change is told to every master by a stream of its collection, which may lag behind.
type world struct {
	now time.Time
	rev int64

	tasks      map[job.TaskRef]*job.TaskEntry
	nodes      map[job.NodeID]*job.Node
	online     map[job.NodeID]*job.Presence
	unreadable map[job.NodeID]bool
	jobs       map[string]storedJob // by node/hash
	dispatches map[string]*job.Dispatch
	backfills  map[string]*job.Backfill
	flows      flows
	waiting    map[job.RunID]*job.Waiting
	facts      map[string]*job.Fact // by task and node
	done       map[string]bool      // where a task succeeded that has been one that runs once
	config     map[[2]string]string
	calendars  map[string]*job.CalendarEntry
	claims     map[job.TaskRef]map[int64]*job.Claim
	floors     map[job.TaskRef]time.Time
	transit    map[string]*job.ExecutionRecord
	history    map[string]*job.ExecutionRecord

	masters []*master     // the first one leads
	people  *engine.State // what the master knows that people ask: the calendars
	bug     bug           // planted on purpose
	twice   bool          // watches tell everything twice
	sooner  func() bool   // whether a watch tells of a leader's write before its answer comes; nil: never
	checks  checks        // what properties look at; see check_test.go

	ever    []job.TaskRef
	runs    []string
	journal []string
	said    []string // of the journal, what a leader did since it was last asked
}

type storedJob struct {
	job *job.Job
	rev int64
}

func newWorld(masters int) *world {
	w := &world{
		now:   time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC),
		tasks: map[job.TaskRef]*job.TaskEntry{}, nodes: map[job.NodeID]*job.Node{}, online: map[job.NodeID]*job.Presence{},
		jobs: map[string]storedJob{}, dispatches: map[string]*job.Dispatch{}, config: map[[2]string]string{}, unreadable: map[job.NodeID]bool{}, calendars: map[string]*job.CalendarEntry{},
		people: engine.New(engine.Options{}), waiting: map[job.RunID]*job.Waiting{}, facts: map[string]*job.Fact{}, done: map[string]bool{},
		claims: map[job.TaskRef]map[int64]*job.Claim{}, floors: map[job.TaskRef]time.Time{},
		transit: map[string]*job.ExecutionRecord{}, history: map[string]*job.ExecutionRecord{},
	}
	w.checks.begin(w)
	for range masters {
		w.masters = append(w.masters, &master{state: engine.New(engine.Options{Lease: lease})})
	}
	w.lead()
	return w
}

// stream is a collection that is watched for itself.
type stream int

const (
	tasks stream = iota
	calendars
	nodes
	presences
	jobs
	dispatches
	config
	claims
	floors
	backfills
	executions
	groups
	groupStates
	waitings
	facts
	streams
)

type change struct {
	key   string
	event any // an engine.Event, or online or offline
	at    time.Time
}

// tell tells every master of a change.
func (w *world) tell(s stream, key string, e any) {
	for _, m := range w.masters {
		m.behind[s] = append(m.behind[s], change{key, e, w.now})
	}
}

func (w *world) next() int64 {
	w.rev++
	return w.rev
}

func (w *world) putTask(e *job.TaskEntry) {
	c := *e
	c.Revision = w.next()
	if n := len(c.Past); n > 1 && w.bug == forgetsEras {
		c.Past = c.Past[n-1:]
	}
	if w.bug == forgetsKinds {
		c.Past = slices.Clone(c.Past)
		for i := range c.Past {
			c.Past[i].Kind = c.Task.Kind
		}
	}
	w.tasks[c.Ref()] = &c
	if !slices.Contains(w.ever, c.Ref()) {
		w.ever = append(w.ever, c.Ref())
	}
	w.note("people: %s is %s %q since %s, catchup %s, paused %t", c.Ref(), c.Task.Kind, c.Task.Timer, clock(c.Since), c.Task.Catchup, c.Paused)
	w.checks.wrote(w, &c)
	w.tell(tasks, c.Ref().String(), engine.TaskPut{Entry: &c})
}

func (w *world) deleteTask(ref job.TaskRef) {
	delete(w.tasks, ref)
	w.note("people: %s is deleted", ref)
	w.checks.deleted(w, ref)
	w.tell(tasks, ref.String(), engine.TaskDeleted{Task: ref})
}

// apply keeps a task as a master does that is asked to.
func (w *world) apply(t job.Task) {
	t.Complete()
	now := w.now.Truncate(time.Millisecond)
	e := job.TaskEntry{CreatedAt: now, Since: now}
	if old := w.tasks[t.Ref()]; old != nil {
		resolved, rule, _ := w.people.Resolved(old)
		settled := w.floors[t.Ref()]
		if w.rev%2 == 0 {
			settled = time.Time{} // its view may not have it
		}
		e = *old.Edited(t, resolved, rule, settled, now)
	} else {
		e.Task, e.UpdatedAt, e.Generation = t, now, 1
	}
	w.putTask(&e)
}

// setCalendar sets what a calendar says.
func (w *world) setCalendar(name string, ranges ...string) {
	now := w.now.Truncate(time.Millisecond)
	c := job.Calendar{Name: name, Ranges: ranges}
	e := &job.CalendarEntry{Calendar: c, CreatedAt: now}
	if old := w.calendars[name]; old != nil {
		e = old.Edited(c, now)
	}
	e.Revision = w.next()
	w.calendars[name] = e
	w.note("people: calendar %s is %v since %s", name, ranges, clock(e.Since))
	w.people.Apply(engine.CalendarPut{Entry: e})
	for _, t := range w.tasks {
		if slices.Contains(t.Task.Rule().CalendarNames(), name) {
			w.checks.wrote(w, t)
		}
	}
	if w.bug == forgetsRanges {
		c := *e
		c.Past = nil
		e = &c
	}
	w.tell(calendars, name, engine.CalendarPut{Entry: e})
}

func (w *world) pause(ref job.TaskRef, paused bool) {
	old := w.tasks[ref]
	if old == nil || old.Paused == paused {
		return
	}
	e := *old
	if e.Paused = paused; paused {
		e.PausedAt = w.now
	} else {
		e.ResumedAt = w.now
	}
	w.putTask(&e)
}

func (w *world) putNode(n *job.Node) {
	w.note("node %s has %v, cordoned %t", n.ID, n.Labels, n.Cordoned)
	c := n.Clone()
	c.Revision = w.next()
	w.nodes[c.ID] = c
	w.tell(nodes, string(c.ID), engine.NodePut{Node: c})
}

func (w *world) deleteNode(id job.NodeID) {
	delete(w.nodes, id)
	w.note("node %s is deleted", id)
	w.tell(nodes, string(id), engine.NodeDeleted{Node: id})
}

func (w *world) join(id job.NodeID, session string) {
	w.note("%s is online", session)
	p := &job.Presence{Node: id, Session: session, Since: w.now}
	w.online[id] = p
	w.tell(presences, string(id), online{p})
}

func (w *world) leave(id job.NodeID) {
	delete(w.online, id)
	w.note("%s is offline", id)
	w.tell(presences, string(id), offline{id})
}

// claim is a node's: above the floor, where nobody was before.
func (w *world) claim(c job.Claim) bool {
	floor, ok := w.floors[c.Task]
	at := c.Instant.Unix()
	if !ok || at <= floor.Unix() && w.bug != claimsBelowTheFloor || w.claims[c.Task][at] != nil {
		return false
	}
	if w.claims[c.Task] == nil {
		w.claims[c.Task] = map[int64]*job.Claim{}
	}
	c.At, c.Fence = w.now, w.next()
	w.claims[c.Task][at] = &c
	w.note("%s claims %s of %s", c.Session, clock(c.Instant), c.Task)
	w.checks.started(w, &c)
	w.tell(claims, c.Task.String()+job.FormatInstant(c.Instant), engine.ClaimPut{Claim: &c})
	return true
}

// handOver is a node's: a record, and the end of the dispatch that it ends.
func (w *world) handOver(rec *job.ExecutionRecord) {
	c := rec.Clone()
	w.transit[rec.ID] = &c
	w.note("%s hands over %s", rec.Node, w.record(rec))
	w.deleteDispatch(rec.Node, job.RunID(rec.ID))
}

func (w *world) deleteDispatch(node job.NodeID, run job.RunID) {
	key := string(node) + "/" + string(run)
	if w.dispatches[key] != nil {
		delete(w.dispatches, key)
		w.tell(dispatches, key, engine.DispatchDeleted{Node: node, Run: run})
	}
}

func (w *world) putDispatch(d *job.Dispatch) {
	c := *d
	c.Revision = w.next()
	key := string(d.Node) + "/" + string(d.Run)
	w.dispatches[key] = &c
	w.tell(dispatches, key, engine.DispatchPut{Dispatch: &c})
}

// start is a node's mark on a dispatch.
func (w *world) start(d *job.Dispatch, session string) {
	c := *d
	c.Started = &job.Started{Session: session, At: w.now}
	w.putDispatch(&c)
}

func (w *world) putConfig(group, key, value string) {
	w.config[[2]string{group, key}] = value
	w.tell(config, group+"/"+key, engine.ConfigPut{Group: group, Key: key, Value: value})
}

// insert is history's.
func (w *world) insert(rec *job.ExecutionRecord) {
	old := w.history[rec.ID]
	if old == nil || rec.Outcome.Supersedes(old.Outcome) {
		c := rec.Clone()
		w.history[rec.ID] = &c
	}
}

// do carries an action out, as package store does, and tells whether its condition held.
func (w *world) do(a engine.Action) bool {
	switch a := a.(type) {
	case engine.PutJob:
		key := string(a.Job.NodeID) + "/" + a.Job.Hash
		if w.jobs[key].rev != a.Revision {
			return false
		}
		j := storedJob{a.Job.Clone(), w.next()}
		w.jobs[key] = j
		w.tell(jobs, key, engine.JobPut{Job: j.job, Revision: j.rev})
	case engine.DeleteJob:
		key := string(a.Node) + "/" + a.Hash
		old, ok := w.jobs[key]
		if ok && a.Revision != 0 && old.rev > a.Revision {
			return false
		}
		if ok {
			delete(w.jobs, key)
			w.tell(jobs, key, engine.JobDeleted{Node: a.Node, Hash: a.Hash})
		}
	case engine.AdvanceExecution, engine.StartExecution, engine.KillStep, engine.FireGroup, engine.DropGroupState:
		return w.doFlow(a)
	case engine.CreateDispatch:
		if w.dispatches[string(a.Dispatch.Node)+"/"+string(a.Dispatch.Run)] != nil {
			return false
		}
		w.putDispatch(a.Dispatch)
	case engine.FailDispatch:
		old := w.dispatches[string(a.Dispatch.Node)+"/"+string(a.Dispatch.Run)]
		if old == nil || old.Revision != a.Dispatch.Revision {
			return false
		}
		w.handOver(a.Record)
		w.deleteDispatch(a.Dispatch.Node, a.Dispatch.Run)
	case engine.AdvanceBackfill, engine.DropBackfill, engine.MoveDispatch:
		return w.doBackfill(a)
	case engine.Start, engine.Release, engine.AdvanceWaiting, engine.FailWaiting, engine.CreateWaiting, engine.DropFacts, engine.Ended:
		return w.doDepends(a)
	case engine.InitFloor:
		if _, ok := w.floors[a.Task]; ok {
			return false
		}
		w.setFloor(a.Task, a.At)
		w.checks.opened(w, a.Task, a.At)
	case engine.Settle:
		return w.settle(a)
	case engine.DropTask:
		return w.drop(a)
	case engine.PutRecord:
		c := w.claims[a.Claim.Task][a.Claim.Instant.Unix()]
		if c == nil || c.Fence != a.Claim.Fence || w.transit[a.Record.ID] != nil {
			return false
		}
		w.handOver(a.Record)
	case engine.SetConfig:
		w.putConfig(a.Group, a.Key, a.Value)
	case engine.SetCondition:
		if n := w.nodes[a.Node]; n != nil {
			n = n.Clone()
			if n.Conditions == nil {
				n.Conditions = map[string]string{}
			}
			n.Conditions[a.Type] = a.Status
			w.putNode(n)
		}
	}
	return true
}

func (w *world) setFloor(ref job.TaskRef, at time.Time) {
	w.floors[ref] = at.Truncate(time.Second)
	w.tell(floors, ref.String(), engine.FloorPut{Task: ref, At: at.Truncate(time.Second)})
}

func (w *world) settle(a engine.Settle) bool {
	floor, ok := w.floors[a.Task]
	if e := w.tasks[a.Task]; e == nil || e.Revision != a.Revision {
		return false
	}
	for name, rev := range a.Calendars {
		if w.calendars[name].Revision != rev {
			return false
		}
	}
	if !a.To.After(a.From) || ok == a.From.IsZero() || ok && !floor.Equal(a.From.Truncate(time.Second)) {
		return false
	}
	if a.Record != nil && w.bug != settleIgnoresClaims {
		for at := range w.claims[a.Task] {
			if at > a.From.Unix() && at <= a.To.Unix() {
				return false
			}
		}
	}
	if a.Record != nil && w.bug != settleDropsTheRecord {
		w.handOver(a.Record)
	}
	w.checks.settled(w, a)
	w.setFloor(a.Task, a.To)
	if a.Record == nil {
		w.dropClaims(a.Task, a.To)
	}
	return true
}

func (w *world) dropClaims(ref job.TaskRef, upTo time.Time) {
	for _, at := range slices.Sorted(maps.Keys(w.claims[ref])) {
		if at <= upTo.Unix() {
			i := time.Unix(at, 0).UTC()
			delete(w.claims[ref], at)
			w.tell(claims, ref.String()+job.FormatInstant(i), engine.ClaimDeleted{Task: ref, Instant: i})
		}
	}
}

func (w *world) drop(a engine.DropTask) bool {
	if floor, ok := w.floors[a.Task]; !ok || !floor.Equal(a.Floor) {
		return false
	}
	w.checks.dropped(w, a.Task)
	delete(w.floors, a.Task)
	w.tell(floors, a.Task.String(), engine.FloorDeleted{Task: a.Task})
	w.dropClaims(a.Task, time.Unix(1<<60, 0))
	return true
}
