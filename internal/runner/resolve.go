//go:build linux

package runner

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// Resolved is what an execution comes to on this machine, whatever it was called.
type Resolved struct {
	User    string // the login name, or the uid where it has none
	UID     int
	Command string // the program's path behind all symbolic links; empty where it was not asked for
	Dir     string // the same of the directory
}

// Resolve finds out whom an execution would run as and, where that is wanted, its program and its directory, by the same
// rules as a start, and executes nothing. An error says why it can't be found out.
func Resolve(e job.Exec, command, dir bool) (Resolved, error) {
	acc, err := new(accounts).find(e.User)
	if err != nil {
		return Resolved{}, err
	}
	is := Resolved{User: acc.name, UID: acc.uid}
	from := e.Dir
	if from == "" {
		from = acc.home
		var st unix.Stat_t
		if from == "" || unix.Stat(from, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			from = "/"
		}
	}
	if dir {
		if is.Dir, err = behindLinks("directory", from); err != nil {
			return is, err
		}
	}
	if !command {
		return is, nil
	}
	if len(e.Argv) == 0 || e.Argv[0] == "" {
		return is, job.Errorf(job.CodeInvalid, "the command is empty")
	}
	_, search, err := environ(e.Env, acc, os.DevNull)
	if err != nil {
		return is, err
	}
	path, err := lookPath(e.Argv[0], search, from)
	if err != nil {
		return is, err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(from, path)
	}
	is.Command, err = behindLinks("command", path)
	return is, err
}

func behindLinks(what, path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", job.Errorf(job.CodeForbidden, "it can't be told what %s %s is: %w", what, path, err).
			WithHint("the node has a policy, and runs nothing that the agent can't judge")
	}
	return real, nil
}
