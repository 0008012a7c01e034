package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/rota-dev/rota/job"
)

// Live is the policy in force. It is safe for concurrent use.
type Live struct {
	file     string
	optional bool // there need not be a file
	resolve  Resolver
	now      atomic.Pointer[Policy]
	changed  atomic.Pointer[func()]
}

// Open reads the policy of a node. An empty file stands for [DefaultFile], which need not exist: then everything is
// allowed that the agent's user may do. Whatever else keeps it from being read, parsed or trusted is an error: a node
// must not start unbound.
func Open(file string, resolve Resolver) (*Live, error) {
	l := &Live{file: file, resolve: resolve}
	if file == "" {
		l.file, l.optional = DefaultFile, true
	}
	p, err := Read(l.file)
	if l.optional && errors.Is(err, fs.ErrNotExist) {
		p, err = &Policy{}, nil
	}
	if err != nil {
		return nil, err
	}
	l.now.Store(p)
	return l, nil
}

// Policy is the one in force.
func (l *Live) Policy() *Policy { return l.now.Load() }

// Admit says what an execution becomes under the policy in force; see [Policy.Admit].
func (l *Live) Admit(e job.Exec) (job.Exec, error) { return l.Policy().Admit(e, l.resolve) }

// MaxRuns is how many runs may be alive on the node at once; 0: any number.
func (l *Live) MaxRuns() int { return l.Policy().MaxRuns }

// OnChange has f called after each reload that worked. There is one such function.
func (l *Live) OnChange(f func()) { l.changed.Store(&f) }

// Reload reads the file again. After an error the policy in force stays: also where the file has vanished, since a
// policy is lifted on purpose, by an empty file or a new start, and not by accident.
func (l *Live) Reload() error {
	old := l.Policy()
	p, err := Read(l.file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && old.File == "":
		return nil // there was none, and there is none
	case err != nil:
		return err
	}
	l.now.Store(p)
	if f := l.changed.Load(); f != nil {
		(*f)()
	}
	return nil
}

// Read reads a policy from a file, which only root or the user of this process may be able to change.
func Read(file string) (*Policy, error) {
	real, err := filepath.Abs(file)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return nil, unreadable(file, err)
	}
	f, err := os.Open(real)
	if err != nil {
		return nil, unreadable(file, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(file, err)
	}
	if !info.Mode().IsRegular() {
		return nil, job.Errorf(job.CodeInvalid, "the node's policy %s is not a file", file).WithHint("give a YAML file, or none")
	}
	if err := trusted(real, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(file, err)
	}
	return Parse(file, data)
}

func unreadable(file string, err error) error {
	e := job.Errorf(job.CodeInvalid, "the node's policy can't be read: %w", err)
	if errors.Is(err, fs.ErrNotExist) {
		return e.WithHint("write it, or start the node without --policy %s", file)
	}
	return e.WithHint("let the agent's user read %s", file)
}

// trusted refuses a file that others may change, itself or by way of a directory above it.
func trusted(file string, info fs.FileInfo) error {
	if err := ownedAndClosed("the node's policy "+file, file, info); err != nil {
		return err
	}
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return fmt.Errorf("look at the directory of the node's policy: %w", err)
		}
		// In a sticky directory nobody can replace what is another's.
		if info.Mode()&fs.ModeSticky == 0 {
			if err := ownedAndClosed("directory "+dir+" of the node's policy", dir, info); err != nil {
				return err
			}
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func ownedAndClosed(what, path string, info fs.FileInfo) error {
	if uid, ok := owner(info); ok && uid != 0 && uid != os.Geteuid() {
		return job.Errorf(job.CodeInvalid, "%s belongs to uid %d, who could change it", what, uid).WithHint("chown root %s", path)
	}
	if info.Mode()&0o022 != 0 {
		return job.Errorf(job.CodeInvalid, "%s can be written by others than its owner (mode %04o)", what, info.Mode().Perm()).
			WithHint("chmod go-w %s", path)
	}
	return nil
}
