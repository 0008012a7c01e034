// Package sim runs whole clusters in virtual time: real masters and real agents around an etcd in memory, with runners that only
// pretend to execute, and everything that can go wrong drawn from a seed. docs/simulator.md says how to use it.
//
// A [scenario] is what is to happen; it is drawn from a seed (scenario_test.go), can be cut down to a part of itself, and is printed for
// people. A world (world_test.go) plays it. Faults act at the seams of a process: its calls to etcd and what it hears from there
// (network_test.go), its calls to history (history_test.go), its clock, its disk, and its commands (machine_test.go, guard_test.go).
// The observer (observer_test.go) knows what really executed, checks Once and Exclusive as it happens, and the rest against
// history at the end (verdict_test.go). Deliberate bugs (bugs_test.go) show that it sees. What fails is made smaller (shrink_test.go).
//
// Chance is a function of the seed and of who does what for the how-manieth time, never of a generator that all share: what
// one part of the cluster does changes nothing of the luck of another.
package sim
