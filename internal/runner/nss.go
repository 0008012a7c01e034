//go:build linux

package runner

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// This program is not linked with the C library, which alone can ask the name services of a system (nsswitch.conf). Its
// tools can: getent and id.

// nssPatience bounds an answer of the name services.
const nssPatience = 10 * time.Second

// passwd finds a user that is not in /etc/passwd.
func (a *accounts) passwd(name string) (*user.User, error) {
	out, err := a.ask("getent", "passwd", "--", name)
	var exit *exec.ExitError
	switch {
	case errors.Is(err, os.ErrNotExist), errors.As(err, &exit) && exit.ExitCode() == 2:
		return nil, job.Errorf(job.CodeInvalid, "user %q does not exist on this node: it is not in /etc/passwd, nor known to its name services", name).
			WithHint("create the user, or name one that exists here (getent passwd)")
	case err != nil:
		return nil, job.Errorf(job.CodeUnavailable, "look up user %q: %w", name, err).WithHint("see whether `getent passwd %s` works on this node", name)
	}
	line, _, _ := strings.Cut(out, "\n")
	fields := strings.Split(line, ":")
	if len(fields) != 7 || fields[0] != name && fields[2] != name {
		return nil, job.Errorf(job.CodeUnavailable, "look up user %q: getent answered %.80q", name, line)
	}
	return &user.User{Username: fields[0], Uid: fields[2], Gid: fields[3], HomeDir: fields[5]}, nil
}

// groups lists all groups of a user, as numbers.
func (a *accounts) groups(u *user.User) ([]string, error) {
	out, err := a.ask("id", "-G", "--", u.Username)
	if err != nil {
		return nil, err
	}
	return strings.Fields(out), nil
}

// ask runs one of the system's tools and returns what it printed. The error is [os.ErrNotExist] where there is no such tool.
func (a *accounts) ask(argv ...string) (string, error) {
	search := a.search
	if search == "" {
		search = DefaultPath
	}
	path, err := lookPath(argv[0], search, "/")
	if err != nil {
		return "", os.ErrNotExist
	}
	ctx, cancel := context.WithTimeout(context.Background(), nssPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"PATH=" + DefaultPath, "LC_ALL=C"}, time.Second
	out, err := cmd.Output()
	return string(out), err
}

// groupsElsewhere tells whether this system has groups in other places than /etc/group, so that also users of /etc/passwd may be in some.
func groupsElsewhere() bool {
	b, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		return false
	}
	return sourcesElsewhere(string(b))
}

func sourcesElsewhere(nsswitch string) bool {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		sources := strings.Fields(line)
		if len(sources) == 0 || sources[0] != "group:" && sources[0] != "initgroups:" {
			continue
		}
		if slices.ContainsFunc(sources[1:], func(s string) bool {
			return s != "files" && s != "compat" && s != "systemd" && !strings.ContainsAny(s, "[]=")
		}) {
			return true
		}
	}
	return false
}
