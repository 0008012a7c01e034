//go:build linux

package runner

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

// ancestor 31: the user was never applied.
func TestUserWithAllGroups(t *testing.T) {
	needsRoot(t)
	r := newRunner(t, Options{})
	for _, u := range users(t) {
		want, err := exec.Command("id", "-G", u.Username).Output() // asks the C library
		if err != nil {
			t.Skip("needs id: ", err)
		}
		e := sh("id -u; id -g; id -G; echo $USER $LOGNAME $HOME")
		e.User = u.Username
		x := run(t, r, e)
		lines := strings.Split(string(x.Output), "\n")
		if len(lines) != 5 || lines[0] != u.Uid || lines[1] != u.Gid || !sameNumbers(lines[2], string(want)) ||
			lines[3] != strings.Join([]string{u.Username, u.Username, u.HomeDir}, " ") {
			t.Errorf("%s: got %q, want groups %s", u.Username, x.Output, want)
		}
		e.User = u.Uid
		if y := run(t, r, e); string(y.Output) != string(x.Output) {
			t.Errorf("uid %s: got %q, want %q", u.Uid, y.Output, x.Output)
		}
	}
}

// users are a few accounts, those in supplementary groups first.
func users(t *testing.T) (found []*user.User) {
	t.Helper()
	for _, file := range []string{"/etc/group", "/etc/passwd"} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan() && len(found) < 8; {
			fields := strings.Split(lines.Text(), ":")
			names := fields[:1]
			if file == "/etc/group" {
				names = strings.Split(fields[len(fields)-1], ",")
			}
			for _, name := range names {
				if u, err := user.Lookup(name); err == nil && u.Uid != "0" {
					found = append(found, u)
				}
			}
		}
	}
	return found
}

func sameNumbers(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

func TestTheAgentsOwnUser(t *testing.T) {
	r := newRunner(t, Options{})
	me := strconv.Itoa(os.Geteuid())
	for _, name := range []string{"", me, self().name} {
		e := sh("id -u")
		e.User = name
		if x := run(t, r, e); string(x.Output) != me+"\n" {
			t.Errorf("as %q: %q", name, x.Output)
		}
	}
}

// Users that only the system's name services know have all their groups too.
func TestUserOfTheNameServices(t *testing.T) {
	needsRoot(t)
	r := newRunner(t, Options{})
	tools, asked := t.TempDir(), t.TempDir()+"/asked"
	for name, script := range map[string]string{
		"getent": `echo "$@" >>` + asked + `; [ "$3" = ldap.user ] || [ "$3" = 54321 ] || exit 2; echo 'ldap.user:*:54321:54320:A User:/:/bin/zsh'`,
		"id":     `[ "$*" = "-G -- ldap.user" ] && echo 54320 777 888`,
	} {
		if err := os.WriteFile(tools+"/"+name, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.users.search = tools
	for _, name := range []string{"ldap.user", "54321", "ldap.user"} {
		e := sh("id -u; id -g; id -G; echo $USER $LOGNAME $HOME $SHELL")
		e.User = name
		if x := run(t, r, e); string(x.Output) != "54321\n54320\n54320 777 888\nldap.user ldap.user / /bin/sh\n" {
			t.Errorf("%s: got %q, %+v", name, x.Output, x)
		}
	}
	if b, err := os.ReadFile(asked); err != nil || string(b) != "passwd -- ldap.user\npasswd -- 54321\n" {
		t.Errorf("asked for %q, %v", b, err)
	}
	mark := t.TempDir() + "/ran"
	for _, name := range []string{"nobody-knows", "-x", "4294967295999"} {
		_, err := r.Start(t.Context(), job.Exec{Argv: []string{"touch", mark}, User: name})
		if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), fmt.Sprintf("user %q does not exist on this node", name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it started all the same")
	}
	for text, want := range map[string]bool{
		"": false, "group: files systemd\n": false, "group:  files [SUCCESS=merge] systemd # ldap": false, "passwd: files sss\n": false,
		"group: files sss\n": true, "initgroups: files ldap": true,
	} {
		if got := sourcesElsewhere(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestWhatAUserMayNot(t *testing.T) {
	needsRoot(t)
	r := newRunner(t, Options{})
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := closed + "/tool"
	if err := os.WriteFile(secret, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := r.Start(t.Context(), job.Exec{Argv: []string{"true"}, User: "nobody", Dir: closed})
	if err == nil || !strings.Contains(err.Error(), "user nobody may not enter directory "+closed) {
		t.Errorf("got %v", err)
	}
	_, err = r.Start(t.Context(), job.Exec{Argv: []string{secret}, User: "nobody", Dir: "/"})
	if err == nil || !strings.Contains(err.Error(), "may not be executed by user nobody") {
		t.Errorf("got %v", err)
	}
}

// An agent that is no root can't become somebody else, and says so. As root the test runs itself as nobody.
func TestOrdinaryAgent(t *testing.T) {
	if os.Geteuid() != 0 {
		checkOrdinaryAgent(t)
		return
	}
	r := newRunner(t, Options{})
	bin := t.TempDir() // of this run only, and open to all
	for dir := bin; dir != os.TempDir() && dir != "/"; dir = dir[:strings.LastIndex(dir, "/")] {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec.Command("cp", os.Args[0], bin+"/test").Run(); err != nil {
		t.Fatal(err)
	}
	x := run(t, r, job.Exec{
		Argv: []string{bin + "/test", "-test.run", "^Test(OrdinaryAgent|Arguments|WhatCannot|Environment|Directory|Input|Kill|Timeout|Result|Only|Own)"},
		User: "nobody", Dir: "/", Env: []string{"TMPDIR=" + os.TempDir(), "PATH=" + os.Getenv("PATH")},
	})
	if x.Outcome != job.Success {
		t.Errorf("as nobody: %+v\n%s", x, x.Output)
	}
}

func checkOrdinaryAgent(t *testing.T) {
	r := newRunner(t, Options{})
	_, err := r.Start(t.Context(), job.Exec{Argv: []string{"id"}, User: "root"})
	want := fmt.Sprintf("become user root: the agent runs as uid %d and may not change users", os.Geteuid())
	if err == nil || !strings.Contains(err.Error(), want) || job.CodeOf(err) != job.CodeForbidden {
		t.Errorf("got %v", err)
	}
	checkOrdinaryLimits(t)
}
