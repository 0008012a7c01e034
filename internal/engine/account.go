package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// account is what is known of a claimed task's instants above its floor. Instants are whole seconds, kept as Unix time.
type account struct {
	floor    time.Time // zero: none yet
	claims   []claim   // above the floor, in the order of their instants
	recorded map[int64]struct{}
	spans    []span // what history has in one record for several instants

	ended time.Time // since when nothing is left to do but to drop it; zero: something is

	wake  time.Time // when the audit looks again; see wake.go
	index int       // in the heap of wakes, or asleep
}

type claim struct {
	at   int64
	by   *job.Claim
	away time.Time // since when its holder is away, as first seen; zero: it is not
}

type span struct{ first, last int64 }

func (a *account) empty() bool { return a.floor.IsZero() && len(a.claims) == 0 }

// clear forgets everything but the place in the heap.
func (a *account) clear() { *a = account{wake: a.wake, index: a.index} }

// covered tells whether an instant is in history, or below the floor.
func (a *account) covered(i int64) bool {
	if _, ok := a.recorded[i]; ok || !a.floor.IsZero() && i <= a.floor.Unix() {
		return true
	}
	return slices.ContainsFunc(a.spans, func(s span) bool { return s.first <= i && i <= s.last })
}

// find is the place of an instant among the claims.
func (a *account) find(i int64) (int, bool) {
	return slices.BinarySearchFunc(a.claims, i, func(c claim, i int64) int { return cmp.Compare(c.at, i) })
}

func (a *account) claimedAt(i int64) bool {
	_, ok := a.find(i)
	return ok
}

// parseEras parses the rules of an entry's past. One that was valid when it was stored and can't be read here owes nothing
// that is known here.
func parseEras(e *job.TaskEntry) {
	past := slices.Clone(e.Past)
	for i := range past {
		if past[i].Rule == nil {
			continue
		}
		r := *past[i].Rule
		if past[i].Rule = &r; r.Valid() != nil {
			past[i].Rule = nil
		}
	}
	e.Past = past
}

// after is the first instant after another that is owed a record: by the rule that was in force, or because it
// is claimed, whatever the rule says of it now. Zero: there is none.
func (t *task) after(i time.Time) time.Time {
	next := t.ruled(i)
	k, _ := t.account.find(i.Unix() + 1)
	if k < len(t.account.claims) {
		if c := time.Unix(t.account.claims[k].at, 0).UTC(); next.IsZero() || c.Before(next) {
			return c
		}
	}
	return next
}

// ruled is the first instant after another that a rule made due to be claimed.
func (t *task) ruled(i time.Time) time.Time {
	i = latest(i, t.entry.CreatedAt)
	for k := range t.entry.Past {
		e := &t.entry.Past[k]
		if e.Owes() && i.Before(e.Until) {
			if next := e.Rule.Next(latest(i, e.Since)); !next.IsZero() && !next.After(e.Until) {
				return next
			}
		}
	}
	if !t.claimed() {
		return time.Time{}
	}
	return t.rule.Next(latest(i, t.entry.Since))
}

func (e ClaimPut) apply(s *State) {
	t := s.task(e.Claim.Task)
	a, at := &t.account, e.Claim.Instant.Unix()
	if !a.floor.IsZero() && at <= a.floor.Unix() {
		s.forget(t)
		return
	}
	k, ok := a.find(at)
	if !ok {
		a.claims = slices.Insert(a.claims, k, claim{at: at, by: e.Claim})
	} else if c := a.claims[k].by; c.Session != e.Claim.Session || c.Node != e.Claim.Node {
		a.claims[k] = claim{at: at, by: e.Claim}
	}
	s.rouse(t)
}

func (e ClaimDeleted) apply(s *State) {
	t := s.tasks[e.Task]
	if t == nil {
		return
	}
	if k, ok := t.account.find(e.Instant.Unix()); ok {
		t.account.claims = slices.Delete(t.account.claims, k, k+1)
	}
	s.rouse(t)
	s.forget(t)
}

func (e FloorPut) apply(s *State) {
	t := s.task(e.Task)
	a := &t.account
	if !e.At.After(a.floor) {
		s.forget(t)
		return
	}
	a.floor = e.At.UTC()
	floor := a.floor.Unix()
	k, _ := a.find(floor + 1)
	a.claims = slices.Delete(a.claims, 0, k)
	for i := range a.recorded {
		if i <= floor {
			delete(a.recorded, i)
		}
	}
	a.spans = slices.DeleteFunc(a.spans, func(s span) bool { return s.last <= floor })
	s.rouse(t)
}

func (e FloorDeleted) apply(s *State) {
	if t := s.tasks[e.Task]; t != nil {
		t.account.floor = time.Time{}
		s.rouse(t)
		s.forget(t)
	}
}

func (e Recorded) apply(s *State) {
	t := s.tasks[e.Task]
	if t == nil || e.Instant.IsZero() {
		return
	}
	a := &t.account
	if a.empty() && !t.claimed() {
		return // a common task's, for whose instants its nodes account
	}
	sp := span{e.Instant.Unix(), max(e.Until.Unix(), e.Instant.Unix())}
	if !a.floor.IsZero() && sp.last <= a.floor.Unix() {
		return
	}
	switch {
	case sp.first < sp.last && !slices.Contains(a.spans, sp):
		a.spans = append(a.spans, sp)
	case sp.first == sp.last:
		if a.recorded == nil {
			a.recorded = map[int64]struct{}{}
		}
		a.recorded[sp.first] = struct{}{}
	}
	s.rouse(t)
}

// Floor is the instant up to which a claimed task is settled; zero where there is none.
func (s *State) Floor(ref job.TaskRef) time.Time {
	if t := s.tasks[ref]; t != nil {
		return t.account.floor
	}
	return time.Time{}
}

// Floors lists the claimed tasks and the instants up to which they are settled: what lies above must be
// read from history once, when a master begins to lead.
func (s *State) Floors() map[job.TaskRef]time.Time {
	floors := map[job.TaskRef]time.Time{}
	for ref, t := range s.tasks {
		if !t.account.floor.IsZero() {
			floors[ref] = t.account.floor
		}
	}
	return floors
}
