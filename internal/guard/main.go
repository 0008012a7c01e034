//go:build linux

package guard

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
)

// marker is the variable by which a process knows that it is to be a guard: it names the guard's folder.
const marker = "ROTA_GUARD"

// Asked tells whether this process was started by an agent to be a guard, and in which folder. A program whose agents start its
// own executable asks at the very beginning, and calls [Main] if so.
func Asked() (dir string, ok bool) { return os.LookupEnv(marker) }

// What stands in a guard's folder.
const (
	socketName = "socket"
	configName = "config.json"
	runsName   = "run" // the folder of the runner
	logName    = "log" // beside the guards' folders, of all of them
)

// listenerFD is where a guard finds its socket, bound by the agent that started it.
const listenerFD = 3

// config is what a guard is started with.
type config struct {
	Build  string        `json:"build"`
	Runner RunnerOptions `json:"runner"`
}

// Main is the life of a guard: it serves agents until there is none and nothing is left to hold. Then it removes its
// folder. Errors, and what it has to say, are in its log.
func Main(dir string) error {
	file, err := openLog(filepath.Join(filepath.Dir(dir), logName))
	if err != nil {
		return err
	}
	defer file.Close()
	log := slog.New(slog.NewTextHandler(file, nil)).With("guard", filepath.Base(dir), "pid", os.Getpid())
	if err := run(dir, log); err != nil {
		log.Error("the guard ends", "error", err)
		return err
	}
	return nil
}

func run(dir string, log *slog.Logger) error {
	b, err := os.ReadFile(filepath.Join(dir, configName))
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("guard: %s: %w", configName, err)
	}
	l, err := inherited()
	if err != nil {
		return fmt.Errorf("guard: its socket: %w", err)
	}
	defer func() { _ = l.Close() }()
	o, err := c.Runner.options(filepath.Join(dir, runsName), log)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	r, err := runner.New(o)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	s, err := newServer(r, log, c.Build)
	if err != nil {
		return err
	}
	// What ends an agent's group does not end the runs: only a SIGTERM that is meant for the guard does.
	// The others are taken and forgotten: what is ignored, the commands would ignore too.
	unheard := make(chan os.Signal, 1)
	signal.Notify(unheard, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	defer signal.Stop(unheard)
	if err := deafToChildren(); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		for range term {
			log.Warn("it was asked to end, and ends its runs")
			s.endAll()
		}
	}()
	s.serve(l, dir)
	signal.Stop(term)
	close(term)
	if err := r.Close(); err != nil {
		log.Error("the runner was not closed well", "error", err)
	}
	return removeFolder(dir)
}

// deafToChildren takes away the handler of SIGCHLD that the Go runtime has for each signal: the guard learns of ends by pidfds, and the signal
// would wake one of its threads for nothing with each of them. The default action leaves it at that, and leaves the exit status to whoever waits.
func deafToChildren() error {
	var action [64]byte                                                                                                                             // struct sigaction is shorter everywhere; all 0 is the default action
	if _, _, no := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&action)), 0, sigsetSize, 0, 0); no != 0 { //nolint:gosec // G103: the array above
		return fmt.Errorf("do without SIGCHLD: %w", no)
	}
	return nil
}

// sigsetSize is how many bytes the kernel's set of signals has.
const sigsetSize = 8

// inherited takes the socket over from the agent. It listens anew, so that whoever connects can ask the kernel for this process.
func inherited() (*net.UnixListener, error) {
	if err := unix.Listen(listenerFD, backlog); err != nil {
		return nil, err
	}
	f := os.NewFile(listenerFD, socketName)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("descriptor %d is no Unix socket", listenerFD)
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}

const backlog = 16

// logFile is a log that begins anew when it has become too long.
type logFile struct{ *os.File }

// maxLog is how long the log of an agent's guards may become.
const maxLog = 1 << 20

func openLog(path string) (logFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return logFile{f}, err
}

func (f logFile) Write(p []byte) (int, error) {
	if st, err := f.Stat(); err == nil && st.Size()+int64(len(p)) > maxLog {
		if err := f.Truncate(0); err != nil {
			return 0, err
		}
	}
	return f.File.Write(p)
}
