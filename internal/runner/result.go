//go:build linux

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// results gives every execution the name of a file for its result. Nothing is created for a run that
// writes none.
//
// Each user has a directory of its own in the runner's, which nobody else may enter. Where other users can't reach the runner's directory (it lies in root's home, say),
// those directories are made in the system's one for temporary files, and a symbolic link tells the next life of the agent
// which to remove.
type results struct {
	dir string

	mu      sync.Mutex
	life    string // tells this life's results from those that a background child of an earlier one may still write
	next    uint64
	foreign string         // where the directories of other users are, once one was needed
	users   map[int]string // by uid
}

const (
	userPrefix    = "user-"
	elsewhere     = "elsewhere" // the symbolic link
	foreignPrefix = "rota-results-"
)

// newResults makes dir and removes what an earlier life left there.
func newResults(dir string) (*results, error) {
	if dir == "" {
		return nil, errors.New("runner: no directory for results is configured; set Options.Dir")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("directory for results: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for results: %w", err)
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // other users pass through it to a directory of their own
	}
	if err := os.Chmod(dir, mode); err != nil {
		return nil, fmt.Errorf("directory for results: %w", err)
	}
	r := &results{dir: dir, users: map[int]string{}, life: strconv.FormatInt(time.Now().UnixNano(), 36)}
	if err := r.clean(); err != nil {
		return nil, fmt.Errorf("remove old results: %w", err)
	}
	own := filepath.Join(dir, userPrefix+strconv.Itoa(os.Geteuid()))
	if err := os.Mkdir(own, 0o700); err != nil {
		return nil, fmt.Errorf("directory for results: %w", err)
	}
	r.users[os.Geteuid()] = own
	return r, nil
}

// clean removes everything of the runner's from its directory.
func (r *results) clean() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(r.dir, e.Name())
		switch {
		case e.Name() == elsewhere:
			target, err := os.Readlink(path)
			if err == nil && strings.HasPrefix(filepath.Base(target), foreignPrefix) && ownDir(target) {
				errs = append(errs, os.RemoveAll(target))
			}
			errs = append(errs, os.Remove(path))
		case strings.HasPrefix(e.Name(), userPrefix):
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// ownDir tells whether path is a directory that belongs to the agent.
func ownDir(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid()
}

// path names a file for a run of an account.
func (r *results) path(acc *account) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir, err := r.userDir(acc)
	if err != nil {
		return "", err
	}
	r.next++
	return dir + "/" + r.life + "-" + strconv.FormatUint(r.next, 36), nil
}

func (r *results) userDir(acc *account) (string, error) {
	if dir := r.users[acc.uid]; dir != "" {
		return dir, nil
	}
	if r.foreign == "" {
		if err := r.findForeign(); err != nil {
			return "", job.Errorf(job.CodeUnavailable, "make a directory for the results of other users: %w", err)
		}
	}
	dir := filepath.Join(r.foreign, userPrefix+strconv.Itoa(acc.uid))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", job.Errorf(job.CodeUnavailable, "make a directory for the results of user %s: %w", acc.name, err)
	}
	if err := os.Chown(dir, acc.uid, acc.gid); err != nil {
		os.Remove(dir)
		return "", job.Errorf(job.CodeForbidden, "become user %s: the agent runs as uid %d and may not change users: %w",
			acc.name, os.Geteuid(), err).WithHint("run the agent as root, or leave out the user")
	}
	r.users[acc.uid] = dir
	return dir, nil
}

// findForeign chooses where the directories of other users go.
func (r *results) findForeign() error {
	nobody := &account{uid: -1, gid: -1} // whoever it is comes in by the rights of others
	if nobody.may(r.dir, 1) || os.Geteuid() != 0 {
		r.foreign = r.dir
		return nil
	}
	dir, err := os.MkdirTemp("", foreignPrefix)
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(dir, 0o711), os.Symlink(dir, filepath.Join(r.dir, elsewhere))); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	r.foreign = dir
	return nil
}
