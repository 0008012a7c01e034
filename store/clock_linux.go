package store

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time since the machine started, suspension included: a lease goes on running out while the
// machine sleeps.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("store: the kernel has no boot-time clock: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

func systemClock() clock { return clock{now: time.Now, elapsed: bootTime} }
