package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// sim is a node that keeps to the protocol and is as unhelpful as that allows: it claims any instants that its jobs,
// as it last saw them, make due, late, out of order or ahead of their time, and ends them when it likes.
type sim struct {
	w       *world
	id      job.NodeID
	alive   bool
	session string
	lives   int
	jobs    []*job.Job
	looked  time.Time
	running []job.Claim
	spool   []job.Claim // of an earlier life, to be told as lost
}

func (s *sim) start() {
	s.lives++
	s.alive, s.session = true, fmt.Sprintf("%s.%d", s.id, s.lives)
	s.w.join(s.id, s.session)
	s.look()
	for _, c := range s.spool {
		s.handOver(c, job.Lost)
	}
	s.spool = nil
}

// die ends the node's life; whether its spool outlives it depends on where it broke.
func (s *sim) die(spooled bool) {
	if spooled {
		s.spool = append(s.spool, s.running...)
	}
	s.alive, s.running = false, nil
	if s.w.online[s.id] != nil {
		s.w.leave(s.id)
	}
}

// look lets the watch tell the node its jobs.
func (s *sim) look() {
	s.jobs, s.looked = nil, s.w.now
	for _, key := range slices.Sorted(maps.Keys(s.w.jobs)) {
		if j := s.w.jobs[key].job; j.NodeID == s.id {
			s.jobs = append(s.jobs, j)
		}
	}
}

func (s *sim) claim(t *rapid.T) {
	if !s.alive || len(s.jobs) == 0 {
		return
	}
	j := one(t, s.jobs...)
	if j.Pause {
		return
	}
	if err := j.Check(); err != nil {
		panic(err)
	}
	ahead := time.Duration(one(t, 0, 0, 0, 120)) * time.Second
	instants, _ := j.Instants(s.w.now.Add(-5*time.Minute), s.w.now.Add(ahead), 100)
	if len(instants) == 0 {
		return
	}
	if uniform(t, 2) == 0 {
		instants = instants[len(instants)-1:]
	}
	i := one(t, instants...)
	if j.PausedFor(i) || !j.At(i).Kind.Claimed() {
		return
	}
	c := job.Claim{Task: j.Ref(), Instant: i, Node: s.id, Session: s.session, Job: j.Hash}
	if s.w.claim(c) {
		s.running = append(s.running, c)
	}
}

func (s *sim) finish(t *rapid.T) {
	outcome := one(t, job.Success, job.Failed, job.Skipped)
	if len(s.running) > 0 {
		s.end(uniform(t, len(s.running)), outcome)
	} else if s.alive {
		s.dispatches(outcome)
	}
}

func (s *sim) end(k int, outcome job.Outcome) {
	c := s.running[k]
	s.running = slices.Delete(s.running, k, k+1)
	s.handOver(c, outcome)
}

// dispatches starts what was asked for, and ends what was started.
func (s *sim) dispatches(outcome job.Outcome) {
	for _, key := range slices.Sorted(maps.Keys(s.w.dispatches)) {
		d := s.w.dispatches[key]
		switch {
		case d.Node != s.id:
		case d.Started == nil:
			s.w.start(d, s.session)
		default:
			rec := job.CreateExecutionRecord(d.Job, d.Run, d.Started.At, s.w.now, outcome, "")
			rec.Trigger, rec.Instant, rec.Attempt = d.Trigger, d.Instant, d.Attempt
			s.w.handOver(&rec)
		}
	}
}

func (s *sim) handOver(c job.Claim, outcome job.Outcome) {
	s.w.handOver(&job.ExecutionRecord{
		ID: string(job.FiringID(c.Task, "", c.Instant)), JobID: c.Job, TaskID: c.Task.String(), Group: c.Task.Group, Name: c.Task.Name,
		Node: s.id, Instant: c.Instant, Trigger: job.TriggerTimer, Outcome: outcome, Attempt: 1, BeginTime: s.w.now, EndTime: s.w.now,
	})
}
