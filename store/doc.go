// Package store keeps Rota's living state in etcd: tasks, nodes, jobs, dispatches, claims, locks,
// processes, and records on their way to history. It is the only package that knows etcd.
//
// It has three layers. At the bottom stands the interface kv: ranges, transactions, watches and
// leases as etcd has them. Two things implement it: a real etcd, far away ([Open]) or in this process
// ([Embed]), and [Memory], which is faithful to etcd's semantics and can be made to fail. Everything
// above is written once:
//
//   - [Collection] lists, reads, writes and watches the values of one sort. Every edit is a
//     compare-and-swap on the revision that was read. A watch begins with what there is, goes on without a
//     gap, and ends only with its context.
//   - [Op] is one conditional write. Many travel in one transaction, each with a condition of its own
//     ([Store.Do]); the leader's carry its term too ([Leadership.Do]), so that what a deposed leader
//     writes is refused.
//   - [Session] is a node's life: one lease for all of its keys, its processes kept equal to what is really
//     alive, and the right to run: claims, locks and starts of dispatches.
//
// Three rules hold throughout. A write whose answer was lost is settled by asking again, never reported as a
// refusal. What a lease guarantees is counted from the moment at which the last confirmed
// keepalive was sent, on a clock that goes on while the machine is suspended. And nothing here ends because
// etcd is away: it waits, backs off and goes on.
package store
