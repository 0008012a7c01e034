package app

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/node"
)

// kernelAlarm is a timer of the kernel (timerfd_create(2)), which is exact to some 50 µs. A timer of Go is up to a millisecond late in an idle process.
type kernelAlarm struct {
	f *os.File
	c chan time.Time
}

func newAlarm() (node.Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer of the kernel: %w", err)
	}
	a := &kernelAlarm{f: os.NewFile(uintptr(fd), "timerfd"), c: make(chan time.Time, 1)}
	go a.wait()
	return a, nil
}

// wait tells of the ends until Stop.
func (a *kernelAlarm) wait() {
	var times [8]byte // how often the time was over, which nobody wants to know
	for {
		if _, err := a.f.Read(times[:]); err != nil {
			return
		}
		select {
		case a.c <- time.Now():
		default: // who has not read the one before looks at the clock yet
		}
	}
}

func (a *kernelAlarm) C() <-chan time.Time { return a.c }

func (a *kernelAlarm) Reset(d time.Duration) {
	raw, err := a.f.SyscallConn()
	if err != nil {
		return // stopped
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}, nil) // 0 would disarm it
	})
}

func (a *kernelAlarm) Stop() { a.f.Close() }
