package node

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// A common task may be deleted and made again, or move away and come back, before an instant that the node has come to already: its clock
// was ahead, or it was cut off from etcd and hears of both later. So the node remembers for a while, of each common job that is gone, by
// which rule it came how far. What that rule made due up to there is dealt with, whatever task asks for it under that name. What the new
// task makes due up to there besides is told as missed, as after an edit that was heard late.

// grave is what is remembered of a job that is gone.
type grave struct {
	key   string    // of the spool
	rule  *job.Rule // valid
	until time.Time // what the rule made due up to then is dealt with
}

const (
	goneMark = "/gone/"
	// keepGone is how long after its last instant a job that is gone may matter: no catch-up reaches further back by default.
	keepGone = 24 * time.Hour
	// maxGone and maxGoneBytes bound what is remembered. Beyond that the half whose instants are oldest is forgotten.
	maxGone      = 10_000
	maxGoneBytes = 4 << 20
	maxGoneRule  = 64 << 10 // a rule that is longer is not remembered
)

// dealt tells whether the rule made an instant due that the job came to.
func (g *grave) dealt(i time.Time) bool {
	return !i.After(g.until) && g.rule.Next(i.Add(-time.Second)).Equal(i)
}

// unearth reads from the spool what earlier lives have buried.
func (c *core) unearth() {
	for key, until := range c.a.spool.kept(goneMark) {
		hash, text, _ := strings.Cut(key, goneMark)
		r := &job.Rule{}
		if json.Unmarshal([]byte(text), r) != nil || r.Valid() != nil {
			c.a.Logger.Warn("the rule of a job that is gone can't be read and is forgotten", "job", hash)
			c.erase([]string{key})
			continue
		}
		c.keepGrave(hash, grave{key, r, until})
	}
}

func (c *core) keepGrave(hash string, g grave) {
	list := c.gone[hash]
	if i := slices.IndexFunc(list, func(o grave) bool { return o.key == g.key }); i >= 0 {
		list[i].until = latest(list[i].until, g.until)
		return
	}
	c.gone[hash] = append(list, g)
	c.goneCount++
	c.goneBytes += len(g.key)
}

// bury remembers how far a job came that is gone now.
func (c *core) bury(j *job.Job) {
	until := c.a.spool.cursor(j.Hash)
	if j.Kind.Claimed() || j.Rules == nil || j.Rules.Schedule == nil || until.IsZero() {
		return // what is claimed stays claimed
	}
	r := *j.Rules
	if r.ID, r.Labels = "", nil; r.Boot {
		r.Timer = "@at " + c.a.boot.Format(time.RFC3339)
	}
	text, err := json.Marshal(&r)
	if err != nil || len(text) > maxGoneRule {
		c.a.Logger.Warn("the rule of a job that is gone is not remembered", "task", j.TaskID, "bytes", len(text), "error", err)
		return
	}
	g := grave{j.Hash + goneMark + string(text), &r, until}
	c.keepGrave(j.Hash, g)
	if err := c.a.spool.advance(map[string]time.Time{g.key: until}); err != nil {
		c.a.Logger.Error("the spool's disk refuses the rule of a job that is gone", "job", j.Hash, "error", err)
	}
	if c.goneCount > maxGone || c.goneBytes > maxGoneBytes {
		c.thinGraves()
	}
}

// thinGraves forgets the older half.
func (c *core) thinGraves() {
	var all []time.Time
	for _, list := range c.gone {
		for _, g := range list {
			all = append(all, g.until)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	c.clearGraves(all[len(all)/2])
}

// clearGraves forgets the jobs that came no further than a time.
func (c *core) clearGraves(limit time.Time) {
	var keys []string
	for hash, list := range c.gone {
		list = slices.DeleteFunc(list, func(g grave) bool {
			if g.until.After(limit) {
				return false
			}
			keys = append(keys, g.key)
			c.goneCount--
			c.goneBytes -= len(g.key)
			return true
		})
		if c.gone[hash] = list; len(list) == 0 {
			delete(c.gone, hash)
		}
	}
	c.erase(keys)
}

func (c *core) erase(keys []string) {
	if err := c.a.spool.discard(keys); err != nil {
		c.a.Logger.Error("the spool's disk refuses to forget jobs that are gone", "jobs", len(keys), "error", err)
	}
}

// recall is the cursor of a job that the clock does not have yet: further than the spool says, where the node came further with one that
// was there under its name before. Whatever is told on the way moves the cursor, so that a crash between leaves the rest to the next life.
func (c *core) recall(j *job.Job, cursor time.Time) time.Time {
	graves := c.gone[j.Hash]
	if len(graves) == 0 || j.Kind.Claimed() {
		return cursor
	}
	var until time.Time
	for _, g := range graves {
		until = latest(until, g.until)
	}
	from := latest(cursor, j.Since)
	if !until.After(from) {
		return cursor
	}
	for more := true; more; {
		var list []time.Time
		list, more = j.Instants(from, until, maxInstants)
		for _, i := range list {
			from = i
			own := j.At(i)
			if own.Kind.Claimed() || c.runs[own.Firing(i)] != nil || slices.ContainsFunc(graves, func(g grave) bool { return g.dealt(i) }) {
				continue
			}
			v := verdict{first: i, last: i, count: 1, outcome: job.Missed, reason: unheardReason, era: i}
			if j.PausedFor(i) {
				v.outcome, v.reason = job.Skipped, pausedReason
			}
			c.tellTurn(turn{told: &v, job: own})
		}
	}
	if err := c.a.spool.advance(map[string]time.Time{j.Hash: until}); err != nil {
		c.a.Logger.Error("the spool's disk refuses the cursor of a job", "job", j.Hash, "error", err)
	}
	return until
}

// kept are the cursors whose names have a mark in them.
func (s *spool) kept(mark string) map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := map[string]time.Time{}
	for key, at := range s.cursors {
		if strings.Contains(key, mark) {
			list[key] = at
		}
	}
	return list
}

// discard drops cursors by their names.
func (s *spool) discard(keys []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first error
	for _, key := range keys {
		delete(s.cursors, key)
		if _, err := s.write('D', key); err != nil && first == nil {
			first = err
		}
	}
	return first
}
