// Package node is the agent: it fires the jobs that are bound to its machine, on its own, and sees to it
// that each firing ends as one record.
//
// One goroutine, the core (core.go), owns the clock and the book of what runs (core_queue.go); everything else reports
// to it. The clock (clock.go) and what becomes of instants that are late (policy.go) are pure. A firing of a common job
// starts at once; one of an interval or alone job first claims its instant (claim.go), and an alone one takes the
// task's lock (claim_lock.go). A run with its attempts is carried out by a goroutine of its own (run.go, run_attempt.go).
//
// What begins and what ended goes to the spool (spool.go) before anything else knows of it. From there the
// records go to etcd in batches (handover.go), in order, again and again until they are accepted; records are
// idempotent by their id, so a lost answer costs nothing. What the agent did not come to before it stopped or died it finds
// again from its cursors, the dispatches and its own claims, and deals with as the job's policy says.
//
// The agent goes on when etcd is away: common jobs fire, claimed ones wait for their claim until their deadline or
// the task's next instant. It never exits because another part of Rota is away.
package node
