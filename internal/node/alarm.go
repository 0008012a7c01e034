package node

import "time"

// Alarm wakes the agent for what is due.
type Alarm interface {
	// C tells that the time is over. It may still tell so of a time that was replaced.
	C() <-chan time.Time
	// Reset replaces the time that is waited for.
	Reset(d time.Duration)
	Stop()
}

// goAlarm is a timer of Go. On Linux one of an idle process is up to a millisecond late: it waits in epoll, which counts in milliseconds.
type goAlarm struct{ *time.Timer }

func (a goAlarm) C() <-chan time.Time   { return a.Timer.C }
func (a goAlarm) Reset(d time.Duration) { a.Timer.Reset(d) }
func (a goAlarm) Stop()                 { a.Timer.Stop() }
