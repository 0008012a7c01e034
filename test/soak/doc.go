// Package soak holds a cluster of real processes under a steady load, and looks at what they hold: memory, goroutines, descriptors,
// threads, leases, keys, files, groups. `make soak SECONDS=3600` is the long form, which judges by slopes; the short one, of every
// test run, judges by what is left when the load has ended.
package soak
