//go:build linux

package guard

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
	"github.com/rota-dev/rota/job"
)

const (
	// slots is how many runs an agent may keep in its stash at a time. A run for which there is none goes to the guard.
	slots = 64
	// maxDeposit is how long a deposit may be, in bytes. A run with a longer note goes to the guard.
	maxDeposit = 64 << 10
)

// deposit is what a slot says of a run.
type deposit struct {
	ID     uint64        `cbor:"0,keyasint"`
	Exec   job.Exec      `cbor:"1,keyasint"` // but for what is of no use once the command was executed
	Legacy runner.Legacy `cbor:"2,keyasint"`
}

// slot is the agent's end of one: what is sent to w comes to r.
type slot struct{ w, r, number int }

func newSlot(number int) (slot, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return slot{}, err
	}
	return slot{w: fds[0], r: fds[1], number: number}, nil
}

func (p slot) close() {
	unix.Close(p.w)
	unix.Close(p.r)
}

// put sends a message with descriptors, and tells whether it is in the slot. It never waits.
func (p slot) put(data []byte, fds ...int) bool {
	rights := unix.UnixRights(fds...)
	iov := unix.Iovec{Base: &data[0]}
	iov.SetLen(len(data))
	h := unix.Msghdr{Iov: &iov, Control: &rights[0]}
	h.SetIovlen(1)
	h.SetControllen(len(rights))
	defer runtime.KeepAlive(rights)
	defer runtime.KeepAlive(data)
	for {
		_, _, no := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(p.w), uintptr(unsafe.Pointer(&h)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) //nolint:gosec // G103: the header above
		if no != unix.EINTR {
			return no == 0
		}
	}
}

// empty takes out what is in it: the deposit, from which on nobody finds the run, and the pidfd.
func (p slot) empty() {
	var b [1]byte
	for range 2 {
		if _, no := swift(unix.SYS_RECVFROM, uintptr(p.r), b[:]); no != 0 {
			return
		}
	}
}
