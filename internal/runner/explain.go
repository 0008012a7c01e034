//go:build linux

package runner

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// explain turns what the kernel answered to fork and exec into an error for a person. The answer is one number for
// all steps in the child (user, directory, program), so the steps are looked at again to see which it was.
func (c *command) explain(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return job.Errorf(job.CodeInternal, "start %s: %w", c.path, err)
	}
	switch errno {
	case unix.EAGAIN:
		return job.Errorf(job.CodeExhausted, "start %s: no further process is allowed for user %s: %w", c.path, c.acc.name, err).
			WithHint("raise the limit of processes (ulimit -u, pids.max), or end some")
	case unix.ENOMEM, unix.EMFILE, unix.ENFILE:
		return job.Errorf(job.CodeExhausted, "start %s: this node is out of resources: %w", c.path, err)
	case unix.E2BIG:
		return job.Errorf(job.CodeInvalid, "start %s: arguments and environment are larger than the kernel takes: %w", c.path, err).
			WithHint("hand large data over by stdin")
	}
	if c.acc.cred != nil && os.Geteuid() != 0 && (errno == unix.EPERM || errno == unix.EINVAL) {
		return job.Errorf(job.CodeForbidden, "become user %s: the agent runs as uid %d and may not change users: %w",
			c.acc.name, os.Geteuid(), err).WithHint("run the agent as root, or leave out the user")
	}
	if wrong := checkDir(c.dir, c.acc); wrong != nil {
		return wrong
	}
	path := from(c.dir, c.path)
	if _, wrong := programAt(path); wrong != nil {
		return wrong
	}
	switch errno {
	case unix.ENOEXEC:
		return job.Errorf(job.CodeInvalid, "command %s is not a program that the kernel can run: %w", path, err).
			WithHint("begin a script with a line such as #!/bin/sh; a program must be built for this machine")
	case unix.ENOENT, unix.ENOTDIR:
		if by := interpreter(path); by != "" {
			return job.Errorf(job.CodeInvalid, "command %s needs the interpreter %q, which does not exist: %w", path, by, err).
				WithHint("install it, or correct the script's first line")
		}
		return job.Errorf(job.CodeInvalid, "command %s needs a loader or library that does not exist: %w", path, err)
	case unix.EACCES:
		if by := interpreter(path); by != "" && c.acc.may(path, 1) {
			return job.Errorf(job.CodeInvalid, "command %s or its interpreter %q may not be executed by user %s: %w", path, by, c.acc.name, err)
		}
		return job.Errorf(job.CodeInvalid, "command %s may not be executed by user %s: %w", path, c.acc.name, err).
			WithHint("look at the permissions of the file and of the directories above it, and whether its file system is mounted noexec")
	case unix.EPERM, unix.EINVAL:
		if c.acc.cred != nil {
			return job.Errorf(job.CodeForbidden, "become user %s (uid %d, gid %d, groups %v): %w",
				c.acc.name, c.acc.uid, c.acc.gid, c.acc.groups, err).
				WithHint("the agent is root, but perhaps in a container without the right to change users")
		}
	}
	return job.Errorf(job.CodeInvalid, "start %s: %w", path, err)
}

// checkDir tells whether a command can begin in dir.
func checkDir(dir string, acc *account) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return job.Errorf(job.CodeInvalid, "directory %s does not exist", dir).WithHint("create it on this node, or correct dir")
	case err == nil && !st.IsDir():
		return job.Errorf(job.CodeInvalid, "directory %s is not a directory", dir).WithHint("correct dir")
	case err != nil:
		return job.Errorf(job.CodeInvalid, "directory %s: %w", dir, err)
	}
	dir, err = filepath.Abs(dir)
	if err == nil && !acc.may(dir, 1) {
		return job.Errorf(job.CodeInvalid, "user %s may not enter directory %s", acc.name, dir).
			WithHint("give the user the right to search it and those above it (chmod, chown), or correct dir")
	}
	return nil
}

// may tells, by mode bits alone, whether the account has the wanted right (4, 2 or 1) on path and may search every
// directory above it. It serves to explain and to choose, never to permit.
func (a *account) may(path string, want uint32) bool {
	if a.uid == 0 {
		return true
	}
	for p := path; ; p, want = filepath.Dir(p), 1 {
		var st unix.Stat_t
		if unix.Stat(p, &st) != nil {
			return false
		}
		shift := 0
		switch {
		case int(st.Uid) == a.uid:
			shift = 6
		case int(st.Gid) == a.gid || a.in(st.Gid):
			shift = 3
		}
		if st.Mode>>shift&want != want {
			return false
		}
		if p == "/" || p == "." {
			return true
		}
	}
}

func (a *account) in(gid uint32) bool {
	for _, g := range a.groups {
		if g == gid {
			return true
		}
	}
	return false
}

// interpreter is what a script's first line asks for, empty for other files.
func interpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	after, ok := strings.CutPrefix(string(line), "#!")
	if !ok {
		return ""
	}
	if fields := strings.Fields(after); len(fields) > 0 {
		return fields[0]
	}
	return fmt.Sprintf("%.20s", line)
}
