//go:build linux

package runner

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

// account is whom a command runs as.
type account struct {
	name   string
	home   string
	uid    int
	gid    int
	groups []uint32 // all supplementary ones
	// cred is what the child has to become; nil if it is already.
	cred *syscall.Credential
}

// accounts looks users up in /etc/passwd and /etc/group and remembers them until those files change.
type accounts struct {
	mu    sync.Mutex
	stamp [2]unix.Stat_t
	known map[string]*account
}

// lookup finds the account of a login name or uid; the empty name is that of the agent itself.
func (a *accounts) lookup(name string) (*account, error) {
	var stamp [2]unix.Stat_t
	for i, file := range []string{"/etc/passwd", "/etc/group"} {
		var st unix.Stat_t
		if unix.Stat(file, &st) == nil {
			stamp[i] = unix.Stat_t{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtim: st.Mtim, Ctim: st.Ctim}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if stamp != a.stamp || a.known == nil {
		a.stamp, a.known = stamp, map[string]*account{}
	}
	if acc := a.known[name]; acc != nil {
		return acc, nil
	}
	acc, err := find(name)
	if err != nil {
		return nil, err
	}
	a.known[name] = acc
	return acc, nil
}

func find(name string) (*account, error) {
	if name == "" {
		return self(), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if _, numeric := strconv.Atoi(name); numeric == nil {
			u, err = user.LookupId(name)
		}
	}
	var noUser user.UnknownUserError
	var noID user.UnknownUserIdError
	if errors.As(err, &noUser) || errors.As(err, &noID) {
		return nil, job.Errorf(job.CodeInvalid, "user %q is not in this node's /etc/passwd", name).
			WithHint("create the user, or name one that exists here (getent passwd); accounts of directory services are not seen")
	}
	if err != nil {
		return nil, job.Errorf(job.CodeUnavailable, "look up user %q: %w", name, err)
	}
	acc, err := fromUser(u)
	if err != nil {
		return nil, job.Errorf(job.CodeUnavailable, "look up the groups of user %q: %w", name, err)
	}
	acc.become()
	return acc, nil
}

// self is the agent's own account. An agent whose uid has no name is at home in /.
func self() *account {
	uid := os.Geteuid()
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		if acc, err := fromUser(u); err == nil {
			return acc
		}
	}
	return &account{name: strconv.Itoa(uid), home: "/", uid: uid, gid: os.Getegid()}
}

func fromUser(u *user.User) (*account, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("uid: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("gid: %w", err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	acc := &account{name: u.Username, home: u.HomeDir, uid: int(uid), gid: int(gid)}
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("group: %w", err)
		}
		acc.groups = append(acc.groups, uint32(n))
	}
	slices.Sort(acc.groups)
	acc.groups = slices.Compact(acc.groups)
	return acc, nil
}

// become sets what the child must change. An ordinary agent that is to run as itself can change nothing and
// keeps the groups that it was started with.
func (a *account) become() {
	if a.uid == os.Geteuid() && (a.uid != 0 || a.sameGroups()) {
		return
	}
	a.cred = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: a.groups}
}

// sameGroups tells whether the agent has the account's groups already.
func (a *account) sameGroups() bool {
	have, err := os.Getgroups()
	if err != nil || os.Getegid() != a.gid {
		return false
	}
	slices.Sort(have)
	return slices.EqualFunc(slices.Compact(have), a.groups, func(h int, g uint32) bool { return h == int(g) })
}

// foreign tells whether the account is another one than the agent's.
func (a *account) foreign() bool { return a.uid != os.Geteuid() }
