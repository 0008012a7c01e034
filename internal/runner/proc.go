//go:build linux

package runner

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BootID is the kernel's name for this boot of the machine, empty where it tells none. With the pid and
// the start ticks it identifies a process for ever.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// SinceBoot is the boot-time clock: it goes on while the machine is suspended and nobody can set it.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	// As for the loop: the scheduler need not be told of a call that does not wait.
	if _, _, no := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); no != 0 { //nolint:gosec // G103: the value above
		return 0 // not on any Linux since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// StartTicks is when a process started, in clock ticks since boot: with the boot id and the pid, its identity.
func StartTicks(pid int) (uint64, error) {
	p, err := readProc(pid, make([]byte, 0, statSize))
	if err != nil {
		return 0, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	return p.start, nil
}

// proc is what /proc/PID/stat says of a process.
type proc struct {
	pid, ppid, pgrp, sid int
	threads              int
	state                byte
	start                uint64
}

// dead tells whether nothing of the process runs any more: a zombie whose threads have all ended.
func (p proc) dead() bool { return (p.state == 'Z' || p.state == 'X') && p.threads <= 1 }

const statSize = 1024 // more than any stat line

// readProc reads the stat line of a process into buf. The error of a process that is gone is ESRCH or ENOENT.
func readProc(pid int, buf []byte) (proc, error) {
	var name [32]byte
	path := append(strconv.AppendInt(append(name[:0], "/proc/"...), int64(pid), 10), "/stat"...)
	fd, err := unix.Open(string(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return proc{}, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:cap(buf)])
	if err != nil {
		return proc{}, err
	}
	p, ok := parseStat(buf[:n])
	if !ok {
		return proc{}, fmt.Errorf("read %s: %q is no stat line", path, buf[:n])
	}
	return p, nil
}

// parseStat reads a stat line (proc_pid_stat(5)). The second field, the program's name, may hold anything, blanks
// and parentheses too; what follows the last parenthesis is safe.
func parseStat(b []byte) (p proc, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open || len(b) < end+4 {
		return proc{}, false
	}
	p.pid, ok = number(b[:open-1])
	if !ok || p.pid < 1 {
		return proc{}, false
	}
	rest := b[end+2:]
	for field := 3; field <= 22; field++ {
		word, after, found := bytes.Cut(rest, []byte{' '})
		if !found && field < 22 {
			return proc{}, false
		}
		rest = after
		switch field {
		case 3:
			if len(word) != 1 || word[0] < 'A' || word[0] > 'z' {
				return proc{}, false
			}
			p.state, ok = word[0], true
		case 4:
			p.ppid, ok = number(word)
		case 5:
			p.pgrp, ok = number(word)
		case 6:
			p.sid, ok = number(word)
		case 20:
			p.threads, ok = number(word)
		case 22:
			var n int
			n, ok = number(word)
			p.start = uint64(n)
		}
		if !ok {
			return proc{}, false
		}
	}
	return p, true
}

// number reads digits; in stat lines some fields are -1, which here means nothing.
func number(b []byte) (n int, ok bool) {
	if len(b) == 2 && b[0] == '-' {
		return -1, true
	}
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n >= 0
}

// processes lists every process that can be seen.
func processes() ([]proc, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	buf := make([]byte, 0, statSize)
	all := make([]proc, 0, len(names))
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := readProc(pid, buf); err == nil {
			all = append(all, p)
		}
	}
	listed := make(map[int]bool, len(all))
	for _, p := range all {
		listed[p.pid] = true
	}
	for i, p := range all { // a parent that is not listed has died since: the child has another one now
		if p.ppid != 0 && !listed[p.ppid] {
			if now, err := readProc(p.pid, buf); err == nil && now.start == p.start {
				all[i] = now
			}
		}
	}
	return all, nil
}

// carries tells whether a process has an entry KEY=VALUE in its environment, as far as that may be read. For a moment, while it executes
// a program and while it dies, none can be seen: then that is not sure.
func carries(pid int, entry string) (has, sure bool) {
	env, sure := environOf(pid)
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if string(e) == entry {
			return true, true
		}
	}
	return false, sure
}

// entry is the entry KEY=VALUE of a process's environment that begins with KEY=; empty where none can be seen.
func entry(pid int, key string) string {
	env, _ := environOf(pid)
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.HasPrefix(e, []byte(key)) {
			return string(e)
		}
	}
	return ""
}

// environOf reads the environment of a process. That it is empty may not be sure.
func environOf(pid int) (env []byte, sure bool) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/environ", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err != unix.ESRCH || !between(pid) // it has let go of its memory
	}
	defer unix.Close(fd)
	var n int
	buf := make([]byte, 8<<10)
	for { // in one piece, which is of one program: what is read on after another was executed is empty
		if n, err = unix.Pread(fd, buf, 0); err == unix.EINTR {
			continue
		}
		if err != nil || n < len(buf) {
			break
		}
		buf = make([]byte, 4*len(buf))
	}
	if err != nil || n == 0 {
		return nil, err != nil || !between(pid)
	}
	return buf[:n], true
}

// between tells whether a process whose environment was found empty is on its way from one program to the next, or to its end.
func between(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const ( // the numbers of proc_pid_stat(5), and what they are counted from here
		state, flags, size, from, to = 0, 9 - 3, 23 - 3, 50 - 3, 51 - 3
		kernelThread                 = 1 << 21
	)
	if len(f) <= to || f[state][0] == 'Z' || f[state][0] == 'X' {
		return false
	}
	if marks, ok := number(f[flags]); !ok || marks&kernelThread != 0 {
		return false
	}
	begin, _ := number(f[from])
	end, _ := number(f[to])
	none := begin == end && end > 0 // it has an environment, and nothing in it
	return string(f[size]) == "0" || !none
}
