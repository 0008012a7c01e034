//go:build linux

package runner

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// DefaultPath is where commands are looked up that bring no PATH of their own.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is an execution made ready: nothing in it needs looking up any more.
type command struct {
	path string // of the program; relative ones are meant from dir
	argv []string
	env  []string
	dir  string
	acc  *account
}

// prepare checks an execution and finds its user, directory and program. It executes nothing.
func (r *Runner) prepare(e job.Exec, result string, acc *account) (*command, error) {
	if len(e.Argv) == 0 || e.Argv[0] == "" {
		return nil, job.Errorf(job.CodeInvalid, "the command is empty").
			WithHint(`give at least a program: command: ["/bin/true"]`)
	}
	for _, s := range slices.Concat(e.Argv, e.Env, []string{e.Dir}) {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, job.Errorf(job.CodeInvalid, "%.60q holds a NUL byte, which no argument, variable or path can", s)
		}
	}
	c := &command{argv: e.Argv, acc: acc, dir: e.Dir}
	if c.dir == "" {
		c.dir = acc.home
		var st unix.Stat_t
		if c.dir == "" || unix.Stat(c.dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			c.dir = "/"
		}
	}
	var search string
	var err error
	if c.env, search, err = environ(e.Env, acc, result); err != nil {
		return nil, err
	}
	if c.path, err = lookPath(e.Argv[0], search, c.dir); err != nil {
		if wrong := checkDir(c.dir, acc); wrong != nil { // then whatever was looked up from there is missing too
			return nil, wrong
		}
		return nil, err
	}
	return c, nil
}

// environ is the environment of the child: what its account gives (as cron does), what the execution sets, which
// wins, and where its result goes. Of a name that is set twice the last stays. It returns PATH as well.
func environ(set []string, acc *account, result string) (env []string, path string, err error) {
	env = make([]string, 0, len(set)+6)
	env = append(env, "HOME="+acc.home, "USER="+acc.name, "LOGNAME="+acc.name, "SHELL=/bin/sh", "PATH="+DefaultPath)
	account := len(env)
	for _, entry := range set {
		name, _, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return nil, "", job.Errorf(job.CodeInvalid, "environment entry %.60q is not of the form NAME=value", entry)
		}
		if name == "ROTA_RESULT" {
			continue
		}
		if i := slices.IndexFunc(env[:account], func(have string) bool { return strings.HasPrefix(have, entry[:len(name)+1]) }); i >= 0 {
			env[i] = entry
			continue
		}
		env = append(env, entry)
	}
	env = lastOnes(env, account)
	env = append(env, "ROTA_RESULT="+result)
	return env, strings.TrimPrefix(env[4], "PATH="), nil
}

// lastOnes drops entries behind the first n whose name is set again later.
func lastOnes(env []string, n int) []string {
	last := make(map[string]int, len(env)-n)
	for i := n; i < len(env); i++ {
		name, _, _ := strings.Cut(env[i], "=")
		last[name] = i
	}
	if len(last) == len(env)-n {
		return env
	}
	kept := env[:n]
	for i := n; i < len(env); i++ {
		if name, _, _ := strings.Cut(env[i], "="); last[name] == i {
			kept = append(kept, env[i])
		}
	}
	return kept
}

// lookPath finds a program as execvp does: a name with a slash is a path, from dir if it is relative; others are
// searched for in the directories of search, of which relative ones are meant from dir too.
func lookPath(name, search, dir string) (string, error) {
	if strings.Contains(name, "/") {
		_, err := programAt(from(dir, name))
		return name, err
	}
	var refused error
	for place := range strings.SplitSeq(search, ":") {
		path := from(dir, filepath.Join(place, name))
		missing, err := programAt(path)
		if err == nil {
			return path, nil
		}
		if !missing && refused == nil {
			refused = err
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", job.Errorf(job.CodeInvalid, "command %q is in no directory of PATH (%s)", name, search).
		WithHint("install it on this node, correct its name, or give its full path")
}

// from is path as seen from dir.
func from(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// programAt tells whether there is a file at path that somebody can execute. Whether the run's user may is the kernel's
// decision at exec, and so is what the agent may not even look at.
func programAt(path string) (missing bool, err error) {
	var st unix.Stat_t
	switch err := unix.Stat(path, &st); {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		return true, job.Errorf(job.CodeInvalid, "command %s does not exist", path).
			WithHint("correct the path, or install it on this node")
	case err == unix.EACCES:
		return false, nil
	case err != nil:
		return false, job.Errorf(job.CodeInvalid, "command %s: %w", path, err)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return false, job.Errorf(job.CodeInvalid, "command %s is a directory", path).WithHint("name a program in it")
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return false, job.Errorf(job.CodeInvalid, "command %s is not a file", path)
	case st.Mode&0o111 == 0:
		return false, job.Errorf(job.CodeInvalid, "command %s is not executable", path).
			WithHint("chmod +x %s, or run it by its interpreter", path)
	}
	return false, nil
}
