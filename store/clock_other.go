//go:build !linux

package store

import "time"

// systemClock uses the monotonic clock, which on some systems stands still while the machine sleeps. Agents run
// on Linux, where it does not matter.
func systemClock() clock {
	start := time.Now()
	return clock{now: time.Now, elapsed: func() time.Duration { return time.Since(start) }}
}
