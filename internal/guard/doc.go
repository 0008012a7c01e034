// Package guard runs the commands of an agent under a process of its own, so that the agent may be killed, stopped and replaced while
// they go on. It has both ends: the guard ([Main], [Server]), in which the ordinary runner works, and the agent's end ([Client]),
// which is a [job.Adopter].
//
// # Folder
//
// The agent has a folder for its guards, in which each has one of its own: its socket, what it was started with, and the results of
// its runs. The folder belongs to the agent's user alone, and both ends look whose process the other one is.
//
// # Messages
//
// They are CBOR maps, one after the other, that are only ever added to: an older guard overlooks what it does not know. Whatever
// gathers while one write is under way goes with the next. A start is answered with a pid or an error; the end is told when it
// comes, and again to each new agent until one releases it.
//
// # Own runs
//
// Where the kernel lets it ([Options.Own]), an agent executes ordinary commands itself, and hands them over when they are 50 ms old, or are asked something.
// What the guard needs to go on with them lies in the agent's stash, a row of sockets into which the guard looks when the agent tells it to, or is gone.
//
// # Lives
//
// A guard that holds nothing and has no agent ends. A guard of another build than the agent's gets no new runs, and one that does
// not answer neither: another takes its place. When a guard dies, the agent ends the trees that it left, and tells
// that their runs are lost.
package guard
