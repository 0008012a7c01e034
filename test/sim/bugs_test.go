package sim

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// bug is a deliberate one, by which the simulator shows that it sees. It is planted in what surrounds the product, which then
// does as though that line of it were missing.
type bug string

const (
	noClaim     bug = "skip the claim"                // claims succeed, whoever has claimed before
	noFloor     bug = "ignore the floor"              // claims succeed below it
	noLock      bug = "skip the lock"                 // locks are given to everybody
	noTerm      bug = "ignore the term"               // writes of deposed leaders are not refused
	noUnlock    bug = "unlock does nothing"           // the lock stays where it is
	noTie       bug = "a run outlives its lease"      // nothing but the agent ends it
	noSpool     bug = "forget the spool"              // an agent that is killed begins with an empty one
	noAdoption  bug = "forget the guard"              // the next life does not hear of what runs
	staleJob    bug = "keep a stale job"              // an edit does not reach its nodes, although it seems to
	lostRecords bug = "lose a record after the ack"   // some records that etcd has taken are not there
	lostInserts bug = "acknowledge before it is kept" // some batches that history has taken are not there
	twice       bug = "record an instant twice"       // some records come into history under another id too
	deafAgent   bug = "stop with etcd"                // an agent starts nothing while it is cut off
	deafPause   bug = "go on through a pause"         // a pause does not reach the nodes, although it seems to
	ghosts      bug = "leave a deleted task's jobs"   // they are not deleted, although they seem to be
)

// breach is what a bug breaks, and within how many scenarios that is seen: some seven times as many as it takes on average (from 30 seeds), so that from a fresh
// one hardly one in a thousand is overlooked.
type breach struct {
	of     []string // promises; being found means that one of these is broken: a scenario that fails for another reason shows nothing
	within int
}

// bugs are what each of them breaks. noTerm is not among them: each write of a leader has a condition of its own besides, and nothing is broken
// where the term alone is not looked at.
var bugs = map[bug]breach{
	noClaim:     {[]string{"Once"}, 10},
	noFloor:     {[]string{"Once"}, 10},
	noLock:      {[]string{"Exclusive"}, 12},
	noTie:       {[]string{"Exclusive"}, 75},
	noUnlock:    {[]string{"Accounted", rest}, 10},
	noSpool:     {[]string{"Kept", "Accounted"}, 70},
	noAdoption:  {[]string{"Kept"}, 20},
	staleJob:    {[]string{"Accounted"}, 20},
	lostRecords: {[]string{"Kept", "Accounted"}, 10},
	lostInserts: {[]string{"Kept", "Accounted"}, 10},
	twice:       {[]string{"Accounted"}, 10},
	deafAgent:   {[]string{"Independent"}, 65},
	deafPause:   {[]string{still}, 60},
	ghosts:      {[]string{still}, 60},
}

// planted is a bug in a world; an empty one is none.
type planted struct {
	w *world
	b bug

	mu   sync.Mutex
	seen map[string]bool
}

func plant(w *world, b bug) *planted { return &planted{w: w, b: b, seen: map[string]bool{}} }

// below tells whether a key of etcd is one of a sort.
func below(key, sort string) bool { return strings.HasPrefix(key, store.DefaultPrefix+sort) }

// etcd tampers with it.
func (p *planted) etcd(m *store.Memory) {
	ignore := func(sort string) {
		m.Tamper(&store.Tampering{Ignore: func(_, key string) bool { return below(key, sort) }})
	}
	switch p.b {
	case noClaim:
		ignore("claims/")
	case noFloor:
		m.Tamper(&store.Tampering{Ignore: func(client, key string) bool { return below(key, "settled/") && strings.HasPrefix(client, "n") }})
	case noLock:
		ignore("locks/")
	case noTerm:
		ignore("leader")
	case noUnlock:
		m.Tamper(&store.Tampering{Drop: func(_, key string, deletion bool) bool { return deletion && below(key, "locks/") }})
	case staleJob:
		m.Tamper(&store.Tampering{Drop: func(_, key string, deletion bool) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			again := p.seen[key]
			p.seen[key] = true
			return again && !deletion && below(key, "jobs/")
		}})
	case deafPause:
		m.Tamper(&store.Tampering{Drop: func(_, key string, deletion bool) bool { return !deletion && below(key, "jobs/") && p.w.pausedJob(key) }})
	case ghosts:
		m.Tamper(&store.Tampering{Drop: func(_, key string, deletion bool) bool { return deletion && below(key, "jobs/") }})
	case lostRecords:
		m.Tamper(&store.Tampering{Drop: func(_, key string, deletion bool) bool {
			return !deletion && below(key, "records/") && p.w.d.chance(0.03, "lose", key)
		}})
	}
}

// died is told that an agent was killed.
func (p *planted) died(m *machine) {
	if p.b == noSpool {
		_ = os.RemoveAll(filepath.Join(m.dir, "spool"))
	}
}

// insert is what becomes of records on their way into history.
func (p *planted) insert(ctx context.Context, h job.History, recs []job.ExecutionRecord) ([]bool, error) {
	switch {
	case len(recs) == 0:
	case p.b == lostInserts && p.w.d.chance(0.03, "lose", recs[0].ID):
		return make([]bool, len(recs)), nil
	case p.b == twice && p.w.d.chance(0.1, "twice", recs[0].ID) && !recs[0].Instant.IsZero():
		again := recs[0].Clone()
		again.ID = string(job.CauseID("again", again.ID))
		_, err := h.Insert(ctx, []job.ExecutionRecord{again})
		if err != nil {
			return nil, err
		}
	}
	return h.Insert(ctx, recs)
}

// runner is the guard as an agent has it.
func (p *planted) runner(e endpoint) job.Runner {
	switch p.b {
	case noTie:
		return untied{e}
	case noAdoption:
		return forgetful{e}
	case deafAgent:
		return dependent{e}
	}
	return e
}

// untied starts everything as though it were no alone run.
type untied struct{ endpoint }

func (r untied) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	e.Tied = 0
	return r.endpoint.Start(ctx, e)
}

// forgetful knows nothing of earlier lives.
type forgetful struct{ endpoint }

func (forgetful) Adopt(context.Context) ([]job.Adopted, error) { return nil, nil }

// dependent starts nothing while its agent can't reach etcd.
type dependent struct{ endpoint }

func (r dependent) Start(ctx context.Context, e job.Exec) (job.Execution, error) {
	for {
		own, all, change, allChange := r.g.m.w.net.look(string(r.g.m.id))
		if own.loud+own.silent+own.requests+all.loud+all.silent == 0 {
			return r.endpoint.Start(ctx, e)
		}
		select {
		case <-change:
		case <-allChange:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// pausedJob tells whether a key is that of a job whose task is paused.
func (w *world) pausedJob(key string) bool {
	return slices.ContainsFunc(w.tasks.paused(), func(ref job.TaskRef) bool {
		return slices.ContainsFunc(w.sc.nodes, func(n job.NodeID) bool { return strings.HasSuffix(key, "/"+job.JobHash(ref, n)) })
	})
}
