package main

// reasons say of figures, by their keys, what they are made of where they miss their goals.
var reasons = map[string]string{
	"oneoff/ratio": oneOffReason, "oneoff/cpu": oneOffReason, "oneoff/list/ratio": oneOffReason, "oneoff/list/cpu": oneOffReason,
	"burst/100/ratio": burstReason, "burst/1000/ratio": burstReason, "burst/10000/ratio": burstReason,
	"late/common/p50": lateReason,
}

const oneOffReason = `A run that is asked for costs more than its target. By the profile of the same load without HTTP
(` + "`go test ./internal/app -run '^$' -bench OneOff -cpuprofile cpu.prof`" + `) the server's processor time goes, in round figures, to: starting and
reaping the process 35 %, etcd (apply, raft, its log) 20 %, decoding what the watches of node and master tell 12 %, history 11 %, asking
5 %, the spool 4 %, garbage collection and the rest 13 %. HTTP and its JSON come on top: about 150 µs a run.`

const burstReason = `Instants that are due together start a little later than the bare loop ends as many, because each has its beginning written (not yet synced) before
it starts, and records are handed over and taken in meanwhile, on the same processors.`

const lateReason = `A single instant is told by its own command: half a millisecond and more of what is shown is the fork and the exec of ` + "`date`" + ` and its
start up to where it reads the clock. The rest is the wakeup of an idle processor by Go's timer (0.6 ms late at the median), and the beginning in the spool.`
