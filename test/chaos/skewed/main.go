//go:build chaos_clock && amd64

// Command skewed is rota with a clock that can be wrong, for the tests of package chaos. Where the folder of its program holds a file
// "clock", its first eight bytes are, at every moment, by how many nanoseconds the wall clock of the whole process is off: agent, guard, master
// and etcd alike. Monotonic time, timers and the clock of leases are right, as they are on a machine whose wall clock is set.
//
// It is built with -tags chaos_clock -ldflags -checklinkname=0: Go's runtime asks a function of the kernel for the time, by a
// pointer that is replaced here. Nothing of it is in the released program.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"unsafe"

	"github.com/rota-dev/rota/internal/app"
)

//go:linkname vdso runtime.vdsoClockgettimeSym
var vdso uintptr

// What clockGettime reads: the kernel's own function, and where the offset stands.
var (
	kernel uintptr
	offset *int64
)

// clockGettime is called by the runtime as C would.
func clockGettime()

// entry is the address of clockGettime itself.
func entry() uintptr

func main() {
	if err := skew(); err != nil {
		fmt.Fprintln(os.Stderr, "skewed:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := app.Main(ctx, os.Args[1:], app.OSStdio())
	stop()
	os.Exit(code)
}

// skew takes the runtime's clock over, if there is a file to read the offset from.
func skew() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(filepath.Dir(program), "clock"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	if vdso == 0 {
		return fmt.Errorf("the kernel offers no function for the time")
	}
	kernel, offset = vdso, (*int64)(unsafe.Pointer(&page[0]))
	vdso = entry()
	return nil
}
