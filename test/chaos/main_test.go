package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/test/harness"
)

// The test's three lives: the one that go test started, the first process of the namespaces, and that one's only child.
const (
	lifeVar  = "ROTA_CHAOS_LIFE"
	first    = "first"
	inside   = "inside"
	worldVar = "ROTA_CHAOS_WORLD" // the folder of the world
	whyVar   = "ROTA_CHAOS_WHY"   // why there is none
	groupVar = "ROTA_CHAOS_GROUP" // the control group in which disks are slow; empty: there can be none
)

// tools are the programs that make the world.
var tools = []string{"ip", "nft", "nsenter", "mount", "mkfs.ext4"}

func TestMain(m *testing.M) {
	switch os.Getenv(lifeVar) {
	case first:
		os.Exit(beFirst())
	case inside:
		os.Exit(m.Run())
	}
	os.Exit(outside(m))
}

// outside builds the programs and goes inside. Where there can be no inside, the tests that need it say why.
func outside(m *testing.M) int {
	if why := impossible(); why != "" {
		os.Setenv(whyVar, why)
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "rota-chaos-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // PostgreSQL is another user
	}
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	group := makeGroup()
	code, err := enter(dir, group)
	if group != "" {
		os.Remove(group)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC) {
		os.RemoveAll(dir)
		os.Setenv(whyVar, fmt.Sprintf("this machine lets nobody make namespaces: %v", err))
		return m.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		os.RemoveAll(dir)
	} else {
		fmt.Printf("seed, schedule, journal and logs are kept in %s\n", dir)
	}
	return code
}

// impossible says why there can be no world.
func impossible() string {
	if os.Getenv("ROTA_TEST_NO_NETNS") == "1" {
		return "ROTA_TEST_NO_NETNS is set"
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "the clock of the programs is only taken over on linux/amd64"
	}
	if os.Geteuid() != 0 {
		return "only root may make networks and file systems"
	}
	return ""
}

// missing are the tools that are not installed.
func missing() (list []string) {
	for _, name := range tools {
		if _, err := exec.LookPath(name); err != nil {
			list = append(list, name)
		}
	}
	return list
}

func build(dir string) error {
	const here = "github.com/rota-dev/rota/test/chaos/"
	if list := missing(); len(list) > 0 {
		return fmt.Errorf("%s: not installed; run make deps, or set ROTA_TEST_NO_NETNS=1 to do without these tests", strings.Join(list, ", "))
	}
	if err := harness.Build(filepath.Join(dir, "rota"), here+"skewed", "-tags", "chaos_clock", "-ldflags", "-checklinkname=0"); err != nil {
		return err
	}
	return harness.Build(filepath.Join(dir, "witness"), here+"witness")
}

// groups is where the kernel limits what disks are written, in the first version of control groups.
const groups = "/sys/fs/cgroup/blkio/rota-chaos-"

// makeGroup makes a control group for this process, and removes those of processes that are gone. It is empty where there are none.
func makeGroup() string {
	list, _ := filepath.Glob(groups + "*")
	for _, old := range list {
		if _, err := os.Stat("/proc/" + strings.TrimPrefix(old, groups)); os.IsNotExist(err) {
			os.Remove(old)
		}
	}
	group := fmt.Sprint(groups, os.Getpid())
	if err := os.Mkdir(group, 0o755); err != nil {
		return ""
	}
	return group
}

// enter runs the tests inside, and returns their exit code. The first process there dies with the thread that starts it.
func enter(dir, group string) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), lifeVar+"="+first, worldVar+"="+dir, groupVar+"="+group)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	_ = cmd.Wait()
	return max(cmd.ProcessState.ExitCode(), -cmd.ProcessState.ExitCode()), nil
}

// beFirst is the life of process 1: it makes what a namespace of mounts begins with, starts the tests, and reaps for everybody until they end. With
// it, everything in here ends.
func beFirst() int {
	for _, m := range []struct {
		what, where, kind string
		flags             uintptr
	}{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"none", "/run", "tmpfs", 0}, // with the names of the networks
	} {
		if err := unix.Mount(m.what, m.where, m.kind, m.flags, ""); err != nil {
			fmt.Fprintf(os.Stderr, "mount %s: %v\n", m.where, err)
			return 1
		}
	}
	os.Setenv(lifeVar, inside)
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "wait:", err)
			return 1
		}
		if pid == tests.Pid {
			if status.Signaled() {
				fmt.Fprintln(os.Stderr, "the tests were ended by", status.Signal())
				return 1
			}
			return status.ExitStatus()
		}
	}
}
