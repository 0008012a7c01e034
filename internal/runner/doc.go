// Package runner executes commands on Linux: as whom, where, with what, until when, and with
// everything that they leave behind accounted for.
//
// # How it works
//
// A run is one child with a process group of its own, fed from a sealed memory file and writing
// into one pipe. One goroutine, the loop, watches the pipes and the pidfds of all runs through one
// epoll set: it takes output as it comes, reaps the main process, and closes Done. A run that
// nobody has to kill thus costs its fork and exec and hardly anything else: no goroutine, no thread
// and no buffer of its own but for what it printed. Deadlines and kills are rare, so each gets
// a goroutine of its own (see tree.go) that ends the whole tree and returns only when nobody is left.
//
// # The end
//
// A run ends when its main process does. What that had written by then is in the output, also when a
// background child holds the pipe open; such a child is left alone, and goes on writing into a
// pipe that is emptied and thrown away, so that no SIGPIPE ends it. A run that is ended from outside (timeout,
// Kill) ends with its whole tree, and Done is closed only then.
//
// # The tree
//
// A process belongs to a run if it is in its session or process group, descends from a process that
// does, or was adopted by this agent (which is a child sub-reaper) and carries the run's ROTA_RESULT
// in its environment. What this can't see: a process that left the session, lost its parents before the
// kill, and wiped its environment. Only a cgroup holds such a one.
package runner
