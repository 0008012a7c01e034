// Package engine is the master's brain, and nothing but that: [State.Apply] takes in what happened,
// [State.Plan] says what should be done about it, given the time. No goroutine, no clock, no I/O; whoever
// calls it (package master, a test, a simulation) carries the actions out and applies what came of them.
//
// # Placing
//
// A task is bound to every node that its names and labels select. Each binding is a job under the node's own
// prefix, which is a pure function of the task, the candidates, the configuration it names and the instant since
// which the binding counts. The first four are summed up in the job's stamp, so that a job is up to date when
// its stamp is, and the engine need not keep a copy of a million jobs.
//
// A node that goes away keeps its jobs, because it fires them on its own and will catch up by the task's policy
// when it returns. Neither does its absence change the candidates of interval and alone tasks: they rank
// themselves anew for each instant, and who is away loses no more than its grace.
//
// # Accounting
//
// For each interval and alone task there is a floor: the instant up to which everything that was due is settled.
// A node can claim an instant only above the floor, and the floor rises only over instants that are in history, or
// in one transaction with the record that says why they did not run. That makes claiming safe for ever (an old
// instant can't be claimed again after its claim was removed) and lets no instant vanish. The walk over the
// instants above the floor is the audit (audit.go). Common tasks are accounted for by their nodes.
//
// The floor never rises above the present: a node whose clock is ahead may claim what is still to come, and others
// what lies before that. An entry tells of the rules and kinds before the present one that may still owe something, with their times,
// and each instant is accounted for by what was in force then ([job.Era]).
//
// # Convergence and cost
//
// A plan is empty after its own actions were carried out and applied: tests check it on random histories. It looks
// only at tasks that an event touched, and at those whose time has come. A master that begins to lead looks at all.
//
// The tests drive the engine on a double of the store: scenarios are in testdata, and their output is written by
// go test -run Scenarios -rewrite.
package engine
