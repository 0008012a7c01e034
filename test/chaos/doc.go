// Package chaos runs a whole cluster as machines would have it (three masters with the members of one etcd, five nodes, PostgreSQL), each
// in a network of its own, does to it what happens to clusters, and judges by what the jobs themselves wrote down.
//
// # The world
//
// The test executes itself again as the first process of a namespace for networks, mounts and processes. Everything else lives in there: a bridge, a
// network for each machine, the file systems that fill up or get slow, all programs. When that first process ends, or the test does, for whatever
// reason, the kernel ends and removes all of it. Nothing has a name outside, so that nothing can collide, or be left.
//
// # The faults
//
// A seed decides what happens when, and to whom: see the table faults in faults_test.go. ROTA_CHAOS_SEED repeats a schedule; what the machine makes of
// it is different each time.
//
// # The judgement
//
// Each run writes into a journal that it begins, lives and ends, by a clock that nobody sets. At the end everything is healed, and history must
// account for each instant and each request, once, as the journal has it: see judge.go. The judge is tested on journals with planted lies.
package chaos
