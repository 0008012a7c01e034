// Package job is Rota's vocabulary: what a task, a job, a run, a record and a
// node are, how they are written on the wire, what makes them valid, and the
// ports behind which the machinery stands.
//
// A person writes a [Task]. The leader of the masters binds it to nodes; each
// binding is a [Job], self-contained, so that a node can run it with nobody else
// alive. A node's clock fires a job at an instant: (task, instant) is the identity
// of that firing, never the moment at which it happened to start. Every firing,
// whether it ran or not, ends as one [ExecutionRecord].
//
// The package imports nothing of Rota but the package schedule. It has no
// goroutine, no clock and no state of its own.
package job
