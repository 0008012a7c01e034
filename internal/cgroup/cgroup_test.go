//go:build linux

package cgroup

import (
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

func TestLocate(t *testing.T) {
	const (
		unified  = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid   = "31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n"
		v1       = "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n33 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		bound    = "34 23 0:26 /docker/7f /my\\040groups rw shared:1 - cgroup2 cgroup rw\n"
		noise    = "35 23 8:1 / / rw - ext4 /dev/sda1 rw\n\nx\n"
		ownV1    = "4:memory:/a/b\n2:cpu,cpuacct:/c\n1:name=systemd:/d\n"
		ownV2    = "0::/user.slice/user-1000.slice\n"
		inDocker = "0::/docker/7f/inner\n"
	)
	at := func(mount, own string) *place { return &place{mount, own} }
	for name, c := range map[string]struct {
		mounts, self string
		v2           *place
		v1           map[string]place
	}{
		"unified":           {noise + unified, ownV2, at("/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/user-1000.slice"), nil},
		"top":               {unified, "0::/\n", at("/sys/fs/cgroup", "/sys/fs/cgroup"), nil},
		"hybrid":            {v1 + hybrid, ownV1 + "0::/\n", at("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"), map[string]place{"memory": {"/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a/b"}, "cpu": {"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c"}}},
		"bind mount":        {bound, inDocker, at("/my groups", "/my groups/inner"), nil},
		"outside the mount": {bound, ownV2, nil, nil},
		"outside the names": {unified, "0::/../x\n", nil, nil},
		"nothing mounted":   {noise, ownV2 + ownV1, nil, nil},
		"not in a group":    {unified + v1, "", nil, nil},
	} {
		if c.v1 == nil {
			c.v1 = map[string]place{}
		}
		got := locate(c.mounts, c.self)
		if !reflect.DeepEqual(got, layout{c.v2, c.v1}) {
			t.Errorf("%s: %+v, %+v", name, got.v2, got.v1)
		}
	}
}

func TestSettings(t *testing.T) {
	l := job.Limits{Memory: 64 << 20, CPU: 1.5, CPUWeight: 50, Processes: 7, Nice: 3}
	text := func(list []setting) (all []string) {
		for _, s := range list {
			all = append(all, s.controller+" "+s.file+"="+s.text)
		}
		return all
	}
	if got, want := text(settings2(l)), []string{
		"memory memory.max=67108864", "memory memory.swap.max=0", "memory memory.oom.group=1", "cpu cpu.max=150000 100000", "cpu cpu.weight=50", "pids pids.max=7",
	}; !slices.Equal(got, want) {
		t.Errorf("v2: %q", got)
	}
	if got, want := text(settings1(l)), []string{
		"memory memory.limit_in_bytes=67108864", "memory memory.memsw.limit_in_bytes=67108864", "cpu cpu.cfs_period_us=100000",
		"cpu cpu.cfs_quota_us=150000", "cpu cpu.shares=512", "pids pids.max=8",
	}; !slices.Equal(got, want) {
		t.Errorf("v1: %q", got)
	}
	if got := needed(l); !slices.Equal(got, []string{"memory", "cpu", "pids"}) {
		t.Errorf("needed: %q", got)
	}
	if n := counter("low 1\noom 2\noom_kill 3\n", "oom_kill"); n != 3 {
		t.Errorf("got %d", n)
	}
}

// open2 opens a tree of version 2, or skips the test.
func open2(t *testing.T) *Tree {
	t.Helper()
	tree := Open(slog.New(slog.DiscardHandler))
	t.Cleanup(tree.Close)
	if tree.v2 == nil {
		t.Skip("needs a writable tree of cgroup v2: ", tree.Facts().Why)
	}
	return tree
}

// in starts a shell in a leaf.
func in(t *testing.T, l *Leaf, line string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: l.FD()}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal("it is not up: ", err)
	}
	return cmd
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: ", what)
		}
	}
}

func TestALeafHoldsItsProcessesAndEndsThem(t *testing.T) {
	tree := open2(t)
	l, err := tree.Take(job.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Populated() {
		t.Error("a new leaf has somebody in it")
	}
	cmd := in(t, l, `(setsid env -i /bin/sh -c 'sleep 600; :' >/dev/null &) ; sleep 600 & echo; wait`)
	eventually(t, "all are there", func() bool { return len(l.Processes()) >= 4 })
	if !l.Populated() || !slices.Contains(l.Processes(), cmd.Process.Pid) {
		t.Errorf("got %v", l.Processes())
	}
	if !l.Kill() {
		t.Skip("needs cgroup.kill")
	}
	eventually(t, "nobody is left", func() bool { return !l.Populated() })
	cmd.Wait()
	dir := l.v2
	l.Release()
	next, err := tree.Take(job.Limits{}) // what was killed is not used again
	if err != nil || next == l {
		t.Fatalf("got %v, %v", next, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("it is still there")
	}
	in(t, next, "echo; exec sleep 600")
}

// A background process keeps its leaf from the next run until it has ended.
func TestALeafIsUsedAgainOnlyWhenItIsEmpty(t *testing.T) {
	tree := open2(t)
	l, err := tree.Take(job.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := in(t, l, "echo; exec sleep 600")
	l.Release()
	second, err := tree.Take(job.Limits{})
	if err != nil || second == l {
		t.Fatalf("got %v, %v", second, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "it is taken again", func() bool {
		third, err := tree.Take(job.Limits{})
		return err == nil && third == l
	})
}

// openAgain opens a tree whose leaves with limits are used again, as they are where memory is not counted in them.
func openAgain(t *testing.T) *Tree {
	t.Helper()
	tree := open2(t)
	if tree.have["memory"] != "v2" {
		return tree
	}
	tree.Close()
	tree = open(slog.New(slog.DiscardHandler), locate(read("/proc/self", "mountinfo"), read("/proc/self", "cgroup")), []string{"cpu", "pids"})
	t.Cleanup(tree.Close)
	return tree
}

// limited takes a leaf with limits, or skips the test where this machine can't set them.
func limited(t *testing.T, tree *Tree, l job.Limits) *Leaf {
	t.Helper()
	if err := tree.Check(l); err != nil {
		t.Skip(err)
	}
	leaf, err := tree.Take(l)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// What a run used, and changed, is nothing to the next one in its leaf.
func TestALeafWithLimitsBeginsAnew(t *testing.T) {
	tree := openAgain(t)
	limits := job.Limits{CPU: 0.5, CPUWeight: 50, Processes: 5}
	l := limited(t, tree, limits)
	cmd := in(t, l, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if u := l.Usage(); u.User+u.System < 10*time.Millisecond {
		t.Fatalf("it used %+v", u)
	}
	files := []string{"cpu.cfs_quota_us", "cpu.shares", "pids.max", "cpu.max", "cpu.weight"}
	was := l.Settings(files...)
	slices.Sort(was)
	for _, dir := range append(slices.Collect(maps.Values(l.v1)), l.v2) { // as a run of root may
		for file, text := range map[string]string{"cpu.cfs_quota_us": "-1", "cpu.shares": "1024", "pids.max": "max", "cpu.max": "max", "cpu.weight": "100"} {
			_ = write(dir, file, text)
		}
	}
	l.Release()
	other := limited(t, tree, job.Limits{CPU: 0.5, CPUWeight: 51, Processes: 5})
	if other == l {
		t.Fatal("a run with other limits has it")
	}
	defer other.Release()
	next := limited(t, tree, limits)
	if next != l {
		t.Fatal("it is not used again")
	}
	defer next.Release()
	if u := next.Usage(); u != (Usage{}) {
		t.Errorf("the next run begins with %+v", u)
	}
	is := next.Settings(files...)
	if slices.Sort(is); !slices.Equal(is, was) || len(is) < 3 {
		t.Errorf("settings %q became %q", was, is)
	}
}

// What a stranger used, who lived on in a leaf, is not the next run's.
func TestALeafWithLimitsForgetsStrangers(t *testing.T) {
	tree := openAgain(t)
	limits := job.Limits{CPUWeight: 50}
	l := limited(t, tree, limits)
	cmd := in(t, l, "echo; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
	l.Usage()
	l.Release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is taken again", func() bool {
		next := limited(t, tree, limits)
		defer next.Release()
		if next != l {
			return false
		}
		if u := next.Usage(); u != (Usage{}) {
			t.Errorf("the next run begins with %+v", u)
		}
		return true
	})
}

// A leaf in which a run has made groups, or left a process in one that its kind of groups does not show, is not used again.
func TestALeafWithLimitsIsUsedAgainOnlyWhenItIsAsItWas(t *testing.T) {
	tree := openAgain(t)
	limits := job.Limits{Processes: 5, CPUWeight: 50}
	for name, spoil := range map[string]func(t *testing.T, l *Leaf){
		"a group below": func(t *testing.T, l *Leaf) {
			if err := os.Mkdir(filepath.Join(l.v2, "below"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"a group below that of a controller": func(t *testing.T, l *Leaf) {
			dir := l.v2
			if l.v1["pids"] != "" {
				dir = l.v1["pids"]
			}
			if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"a process in that of a controller": func(t *testing.T, l *Leaf) {
			if l.v1["cpu"] == "" {
				t.Skip("version 2 sees it")
			}
			cmd := exec.Command("sleep", "600")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			if err := write(l.v1["cpu"], "cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
				t.Fatal(err)
			}
		},
		"a dead process that nobody has buried": func(t *testing.T, l *Leaf) {
			dir := l.v2
			if l.v1["pids"] != "" {
				dir = l.v1["pids"]
			}
			cmd := exec.Command("cat")
			in, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err == nil {
				t.Cleanup(func() { _ = cmd.Wait() })
				err = write(dir, "cgroup.procs", strconv.Itoa(cmd.Process.Pid))
			}
			if err == nil {
				err = in.Close()
			}
			if err == nil {
				err = unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := limited(t, tree, limits)
			spoil(t, l)
			l.Release()
			next := limited(t, tree, limits)
			if next == l {
				t.Error("it is used again")
			}
			_ = next.Kill() // so that this one is not either
			next.Release()
		})
	}
}

// Leaves that nobody asks for again make room.
func TestTheOldestLeavesWithLimitsGo(t *testing.T) {
	tree := openAgain(t)
	first := limited(t, tree, job.Limits{CPUWeight: 1})
	dir := first.v2
	first.Release()
	for n := range maxLimited + 5 {
		limited(t, tree, job.Limits{CPUWeight: n + 2}).Release()
	}
	eventually(t, "the rest is removed", func() bool { return tree.Kept() == maxLimited })
	if _, err := os.Stat(dir); err == nil {
		t.Error("the first one is still there")
	}
}

func TestGroupsOfEarlierLives(t *testing.T) {
	tree := open2(t)
	dead := filepath.Join(filepath.Dir(tree.v2.dir), "rota-0-0")
	for _, dir := range []string{dead, dead + "/1", dead + "/2"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { remove(dead) })
	fd, err := os.Open(dead + "/2")
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	cmd := in(t, &Leaf{fd: int(fd.Fd())}, "echo; exec sleep 600")
	other := Open(slog.New(slog.DiscardHandler)) // as the next life does, and any other agent
	defer other.Close()
	if _, err := os.Stat(dead + "/1"); err == nil {
		t.Error("an empty group of a process that has ended is left")
	}
	if _, err := os.Stat(dead + "/2"); err != nil {
		t.Error("a group with a run in it is gone: ", err)
	}
	if _, err := os.Stat(tree.v2.dir); err != nil {
		t.Error("the empty group of a process that lives is gone: ", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "the rest is removed", func() bool {
		sweep(filepath.Dir(tree.v2.dir))
		_, err := os.Stat(dead)
		return err != nil
	})
}

func TestCloseRemovesWhatIsEmpty(t *testing.T) {
	tree := open2(t)
	for range 3 {
		l, err := tree.Take(job.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Release()
	}
	dir := tree.v2.dir
	tree.Close()
	if _, err := os.Stat(dir); err == nil {
		t.Error("it is still there")
	}
}

// Where there is no group, nothing is promised, and everybody says why.
func TestWithoutGroups(t *testing.T) {
	for name, tree := range map[string]*Tree{"nil": nil, "none mounted": open(slog.New(slog.DiscardHandler), layout{}, controllers)} {
		if l, err := tree.Take(job.Limits{Nice: 5}); l != nil || err != nil {
			t.Errorf("%s: %v, %v", name, l, err)
		}
		_, err := tree.Take(job.Limits{Memory: 1 << 30})
		if job.CodeOf(err) != job.CodeUnavailable || !strings.Contains(err.Error(), "limit memory can't be enforced on this node") {
			t.Errorf("%s: %v", name, err)
		}
		if f := tree.Facts(); f.Version != "none" || f.Why == "" || strings.Count(f.Why, "control groups") > 1 || len(f.Limits) > 0 {
			t.Errorf("%s: %+v", name, f)
		}
		tree.Close()
	}
	var l *Leaf
	l.Release()
	if l.FD() != -1 || l.Populated() || l.Kill() || l.Processes() != nil || l.Usage() != (Usage{}) || l.NeedsThread() || l.Events() != -1 {
		t.Error("no leaf is one")
	}
}

// A group that hands a controller on holds no processes of its own: the agent moves out of it. This machine may have no controller that limits
// need in version 2; any will do.
func TestTheAgentMovesOutOfItsOwnGroup(t *testing.T) {
	if dir := os.Getenv("CGROUP_TEST_DIR"); dir != "" {
		tree := open(slog.New(slog.DiscardHandler), layout{v2: &place{dir, dir}}, strings.Fields(os.Getenv("CGROUP_TEST_WANTED")))
		l, err := tree.Take(job.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("have %v, leaf controllers %v; %v", tree.have, words(l.v2, "cgroup.controllers"), tree.why)
		own, _ := os.ReadFile("/proc/self/cgroup")
		t.Logf("own %s", own)
		in(t, l, "echo; exec sleep 600") // whatever could be handed on, a run can begin there
		return
	}
	tree := open2(t)
	mount := locate(read("/proc/self", "mountinfo"), read("/proc/self", "cgroup")).v2.mount
	all := words(mount, "cgroup.controllers")
	if len(all) == 0 || os.Geteuid() != 0 {
		t.Skip("needs root and a controller in version 2")
	}
	if on := words(mount, "cgroup.subtree_control"); !slices.Contains(on, all[0]) {
		if err := write(mount, "cgroup.subtree_control", "+"+all[0]); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { _ = write(mount, "cgroup.subtree_control", "-"+all[0]) })
	}
	dir := filepath.Join(mount, "test-"+filepath.Base(tree.v2.dir))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "it is removed", func() bool { remove(dir); _, err := os.Stat(dir); return err != nil })
	})
	fd, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	again := func() string {
		cmd := exec.Command(os.Args[0], "-test.run", t.Name(), "-test.v")
		cmd.Env = append(os.Environ(), "CGROUP_TEST_DIR="+dir, "CGROUP_TEST_WANTED="+all[0])
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	stranger := in(t, &Leaf{fd: int(fd.Fd())}, "echo; exec sleep 600")
	if out := again(); !strings.Contains(out, "leaf controllers []") {
		t.Errorf("with a stranger in its group:\n%s", out)
	}
	stranger.Process.Kill()
	stranger.Wait()
	if out := again(); !strings.Contains(out, "leaf controllers ["+all[0]+"]") || !strings.Contains(out, "/rota-agent") {
		t.Errorf("alone in its group:\n%s", out)
	}
}

// An agent whose own group systemd starts it in stays there: it could not be started again while its runs go on below.
func TestTheAgentStaysWhereSystemdStartsIt(t *testing.T) {
	const mount = "/sys/fs/cgroup"
	for own, want := range map[string]struct{ ordinary, root bool }{
		mount:                                         {true, true}, // in a container
		mount + "/system.slice/rota.service":          {false, false},
		mount + "/rota.service/agent":                 {true, false}, // DelegateSubgroup=agent
		mount + "/user.slice/run-17.scope":            {true, false},
		mount + "/user@1.service/app.slice/x.service": {false, false},
	} {
		p := place{mount, own}
		if got := moves(p, false); got != want.ordinary {
			t.Errorf("%s: an ordinary agent: %t", own, got)
		}
		if got := moves(p, true); got != want.root {
			t.Errorf("%s: root: %t", own, got)
		}
	}
}

// Controllers of threads (cpu, pids) can be handed on by a group with processes too, but then no process can be started below it.
func TestAGroupWithProcessesHandsNothingOn(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"cgroup.type", "cgroup.procs", "cgroup.subtree_control", "below/cgroup.subtree_control"} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	try := func(procs string) (got []string, written string, problem error) {
		for file, text := range map[string]string{"cgroup.procs": procs, "cgroup.subtree_control": ""} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, problem = enable(dir, filepath.Join(dir, "below"), []string{"cpu"})
		return got, read(dir, "cgroup.subtree_control"), problem
	}
	if got, written, problem := try("1\n7\n"); len(got) > 0 || problem == nil || !strings.Contains(problem.Error(), "holds processes of its own") || written != "" {
		t.Errorf("with processes: %v, %v, %q", got, problem, written)
	}
	if got, written, problem := try(""); !slices.Equal(got, []string{"cpu"}) || problem != nil || written != "+cpu" {
		t.Errorf("without: %v, %v, %q", got, problem, written)
	}
	if err := os.Remove(filepath.Join(dir, "cgroup.type")); err != nil { // the one at the top has none, and may hold processes
		t.Fatal(err)
	}
	if got, written, problem := try("1\n7\n"); !slices.Equal(got, []string{"cpu"}) || problem != nil || written != "+cpu" {
		t.Errorf("at the top: %v, %v, %q", got, problem, written)
	}
}

// An ordinary user to whom a group was given can have and end leaves in it. As root the test gives one to nobody and runs itself there.
func TestAnOrdinaryUserWithAGroupOfItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		tree := open2(t)
		t.Logf("ordinary user in %s", tree.Facts().Dir)
		TestALeafHoldsItsProcessesAndEndsThem(t)
		TestCloseRemovesWhatIsEmpty(t)
		return
	}
	tree := open2(t)
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	dir := filepath.Join(filepath.Dir(tree.v2.dir), "test-"+filepath.Base(tree.v2.dir))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "it is removed", func() bool { remove(dir); _, err := os.Stat(dir); return err != nil })
	})
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(dir, name), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	bin := t.TempDir()
	for up := bin; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("cp", os.Args[0], bin+"/test").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(bin+"/test", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(group.Fd()), Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ordinary user in "+dir) {
		t.Errorf("%v\n%s", err, out)
	}
}
