//go:build linux

package guard

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/internal/runner"
)

// The agent of an ordinary user to whom a control group was given executes runs itself too, and its guard goes on with them. As root the test gives a group
// to nobody and runs others there.
func TestOwnRunsOfAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the other tests are the ordinary user's")
	}
	newOwner(t, "")
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	tree := runner.GroupFacts().Dir
	dir := filepath.Join(filepath.Dir(tree), "guard-test-"+filepath.Base(tree))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "the group is removed", func() bool { return removeGroups(dir) })
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
	tests := []string{"TestARun", "TestKillsReachTheRun", "TestKilledAtEachStep", "TestOwnRunsOfAKilledAgent", "TestOutputAcrossTheHandOver", "TestDeathOfTheGuard"}
	cmd := exec.Command(bin+"/test", "-test.run", "^("+strings.Join(tests, "|")+")$", "-test.v", "-test.timeout", "5m")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(group.Fd()), Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range tests {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass:\n%s", name, out)
		}
	}
}

// removeGroups removes a control group and those below it, when they are empty.
func removeGroups(dir string) bool {
	list, err := os.ReadDir(dir)
	if err != nil {
		return os.IsNotExist(err)
	}
	for _, e := range list {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()))
		}
	}
	return unix.Rmdir(dir) == nil
}
