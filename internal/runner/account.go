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
	"time"

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
	nss    bool     // the name services were asked
	// cred is what the child has to become; nil if it is already.
	cred *syscall.Credential
}

// accounts looks users up and remembers them: those of /etc/passwd and /etc/group until those files change, those that only the
// system's name services know (LDAP and the like) for nssMemory. Its zero value is ready.
type accounts struct {
	search string // where getent and id are; empty: DefaultPath

	mu    sync.Mutex
	stamp [2]unix.Stat_t
	known map[string]remembered
}

type remembered struct {
	*account
	until time.Time // zero: until the files change
}

// nssMemory is how long an answer of the name services is believed.
const nssMemory = time.Minute

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
	if stamp != a.stamp || a.known == nil {
		a.stamp, a.known = stamp, map[string]remembered{}
	}
	have := a.known[name]
	a.mu.Unlock()
	if have.account != nil && (have.until.IsZero() || time.Now().Before(have.until)) {
		return have.account, nil
	}
	acc, err := a.find(name) // name services may be slow: nobody else waits for them
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if stamp == a.stamp {
		have = remembered{account: acc}
		if acc.nss {
			have.until = time.Now().Add(nssMemory)
		}
		a.known[name] = have
	}
	return acc, nil
}

func (a *accounts) find(name string) (*account, error) {
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
	nss := false
	if errors.As(err, &noUser) || errors.As(err, &noID) {
		if u, err = a.passwd(name); err != nil {
			return nil, err
		}
		nss = true
	}
	if err != nil {
		return nil, job.Errorf(job.CodeUnavailable, "look up user %q: %w", name, err)
	}
	var ids []string
	if nss = nss || groupsElsewhere(); nss {
		ids, err = a.groups(u)
	} else {
		ids, err = u.GroupIds()
	}
	var acc *account
	if err == nil {
		acc, err = fromUser(u, ids)
	}
	if err != nil {
		return nil, job.Errorf(job.CodeUnavailable, "look up the groups of user %q: %w", name, err)
	}
	acc.nss = nss
	acc.become()
	return acc, nil
}

// self is the agent's own account. An agent whose uid has no name is at home in /.
func self() *account {
	uid := os.Geteuid()
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		if ids, err := u.GroupIds(); err == nil {
			if acc, err := fromUser(u, ids); err == nil {
				return acc
			}
		}
	}
	return &account{name: strconv.Itoa(uid), home: "/", uid: uid, gid: os.Getegid()}
}

func fromUser(u *user.User, ids []string) (*account, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("uid: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("gid: %w", err)
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
