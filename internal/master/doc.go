// Package master is the master's body. Every master keeps a view of what is in etcd (view.go) and serves the
// API from it and from history (tasks.go, runs.go, read.go). One of them, the leader, also does what the engine
// plans (lead.go) and takes records to history (drain.go); all its writes carry its term.
//
// A record's way: it is inserted, idempotently by its id; what follows from it happens, idempotently by name; it is
// marked as handled; it is deleted from etcd. Whoever dies between two steps leaves nothing that the next leader does
// not do again or find done.
package master
