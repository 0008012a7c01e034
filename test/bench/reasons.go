package main

// reasons say of figures, by their keys, what they are made of where they miss their goals.
var reasons = map[string]string{
	"oneoff/ratio": oneOffReason, "oneoff/cpu": oneOffReason, "oneoff/list/ratio": oneOffReason, "oneoff/list/cpu": oneOffReason,
	"burst/100/ratio": burstReason, "burst/1000/ratio": burstReason, "burst/10000/ratio": burstReason,
	"late/common/p50": lateReason,
	"jobs/idlemaster": idleMasterReason,
}

const oneOffReason = `A run that is asked for costs more than its target, which is less than what its four durable steps cost by themselves: it is asked for, taken,
told, and kept. [Decision 0019](decisions/0019-what-a-one-off-run-costs.md) counts them, has the profile, and says what was taken away, and what was tried without gain. Where
many runs of a task are asked for at once, one request for all of them (` + "`rota run TASK --each`" + `) saves some 150 µs a run.`

const burstReason = `Instants that are due together start a little later than the bare loop ends as many, because each has its beginning written (not yet synced) before
it starts, and some records are handed over and taken in meanwhile, on the same processors. Of a hundred, the loop takes some 40 ms, and 10 ms of
difference are one slice of the kernel's scheduler.`

const lateReason = `A single instant is told by its own command: half a millisecond and more of what is shown is the fork and the exec of ` + "`date`" + ` and its
start up to where it reads the clock. The rest is the wakeup of an idle processor (by a timer of the kernel), and the beginning in the spool.`

const idleMasterReason = `An idle master with 100,000 tasks wakes up for two things: half of what is shown is etcd's own ticks and loops, and is the same without any task (by
` + "`perf record`" + ` three quarters of that are the kernel's and Go's switching between threads). The other half is Go's collector, which looks through
all memory every two minutes, whatever happens: of the tasks some 600 MiB in six million pieces, most of them the tasks and jobs as they are decoded. The node, which is what
there are many of, is within the goal.`
