// Package schedule says when a task is due. It reads timers ("30 2 * * MON-FRI", "@every 90s", "@at 2026-12-01T10:00:00Z"),
// and answers one question in both directions: which instant comes next after t, which came last before t.
//
// The package is pure: no clock, no goroutine, no I/O but the reading of time-zone data. A Schedule is immutable and may be
// used by any number of goroutines.
//
// # The idea
//
// A cron timer is a set of readings of a wall clock, kept as bit sets, one for each field; [cron.nextWall] finds the first
// reading at or after another one without looking at a zone. A zone is a row of segments, stretches of real time with one
// offset from UTC. Inside a segment a reading and an instant differ by a constant, so a search is: map the instant to its
// reading, find the next reading, map it back, and see whether it is still in the segment. All that daylight saving
// adds happens at the seam between two segments, and follows cronie, the cron of most Linux systems:
//
//   - cronie keeps a virtual clock that never runs backwards. Where the wall clock jumps ahead, fixed timers run for the
//     readings that were jumped over; where it goes back, they wait until it has caught up with the virtual clock.
//     That clock is the high-water mark in zone.go.
//   - A timer whose minute or hour starts with * is a wildcard timer: it follows the wall clock as it is, so it neither
//     makes up for what was jumped over nor leaves out what is repeated.
//   - A change of more than three hours is a correction: the new time is used at once. In zone data such changes are the
//     date-line moves (Samoa had no 30 December 2011), and a task due on a day that did not exist is not due.
//
// Every search is bounded: the Gregorian calendar repeats after 400 years, so what has not matched by then never will.
// Instants are whole seconds in the years 1 to 9999.
package schedule
