// Package policy is the node's own word on what may run on it: a file that belongs to the machine's administrator, which
// no master can change or override. It is asked just before each attempt, with every value filled in, so that a job
// that somebody forged in etcd meets it as any other does.
//
// A [Policy] is what one version of the file says; it is immutable. A [Live] is the version in force, which a reload
// replaces, unless the new one is bad.
package policy
