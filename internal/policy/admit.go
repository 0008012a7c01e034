package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	osuser "os/user"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/rota-dev/rota/job"
)

// Resolved is what an execution comes to on this machine, whatever it was called.
type Resolved struct {
	User    string // the login name, or the uid where it has none
	UID     int
	Command string // the program's absolute path, behind all symbolic links; empty where it was not asked for
	Dir     string // the same of the directory
}

// Resolver finds out what an execution comes to; what says which of it is wanted.
type Resolver func(e job.Exec, what Wanted) (Resolved, error)

// Wanted says what of an execution must be found out.
type Wanted struct{ Command, Dir bool }

// Admit says what an execution becomes under the policy: it with the policy's defaults, within its bounds. What the
// policy does not allow is an error of [job.CodeForbidden] that says what, and which file has it so. What can't be found out
// is an error too: nothing is executed unjudged.
func (p *Policy) Admit(e job.Exec, resolve Resolver) (job.Exec, error) {
	if e.Way != nil {
		if err := p.admitWay(e.Way); err != nil {
			return e, err
		}
		return p.bound(e), nil // it has no user, program and limits here
	}
	if e.User == "" {
		e.User = p.DefaultUser
	}
	if why := p.env(e.Env); why != "" {
		return e, p.refusal(why)
	}
	if p.restricts() {
		is, err := resolve(e, Wanted{Command: p.Commands.some() || p.NoShell, Dir: p.Dirs.some()})
		if err != nil {
			return e, err
		}
		if why := p.refuses(e, is); why != "" {
			return e, p.refusal(why)
		}
	}
	e.Limits = atMost(orElse(e.Limits, p.Limits.Default), p.Limits.Max)
	return p.bound(e), nil
}

// bound sets an execution's time and output where it has none, and keeps them within the policy's bounds.
func (p *Policy) bound(e job.Exec) job.Exec {
	if d := p.Timeout.Default; e.Timeout <= 0 && d > 0 {
		e.Timeout = d
	}
	if m := p.Timeout.Max; m > 0 && (e.Timeout <= 0 || e.Timeout > m) {
		e.Timeout = m
	}
	if d := p.Output.Default; e.OutputLimit <= 0 && d > 0 {
		e.OutputLimit = int(d)
	}
	if m := p.Output.Max; m > 0 && (e.OutputLimit <= 0 && m < job.DefaultOutputLimit || int64(e.OutputLimit) > m) {
		e.OutputLimit = int(m)
	}
	return e
}

// orElse fills in the limits that are not set.
func orElse(l, other job.Limits) job.Limits {
	l.Memory, l.CPU, l.CPUWeight = cmp.Or(l.Memory, other.Memory), cmp.Or(l.CPU, other.CPU), cmp.Or(l.CPUWeight, other.CPUWeight)
	l.Processes, l.OpenFiles = cmp.Or(l.Processes, other.Processes), cmp.Or(l.OpenFiles, other.OpenFiles)
	l.FileSize, l.Nice, l.Umask = cmp.Or(l.FileSize, other.FileSize), cmp.Or(l.Nice, other.Nice), cmp.Or(l.Umask, other.Umask)
	return l
}

// atMost keeps limits within others. A weight that is not set is as it is: others weigh the same.
func atMost(l, most job.Limits) job.Limits {
	l.Memory, l.CPU, l.Processes = lesser(l.Memory, most.Memory), lesser(l.CPU, most.CPU), lesser(l.Processes, most.Processes)
	l.OpenFiles, l.FileSize = lesser(l.OpenFiles, most.OpenFiles), lesser(l.FileSize, most.FileSize)
	if most.CPUWeight > 0 && l.CPUWeight > most.CPUWeight {
		l.CPUWeight = most.CPUWeight
	}
	return l
}

// lesser is the narrower of two limits, of which 0 is none.
func lesser[T cmp.Ordered](a, b T) T {
	var none T
	if a == none || b != none && b < a {
		return b
	}
	return a
}

func (p *Policy) admitWay(w *job.Way) error {
	switch {
	case w.HTTP != nil && p.HTTP.Off:
		return p.refusal("HTTP runs are not allowed")
	case w.SSH != nil:
		return p.AdmitSSH(w.SSH.User, w.SSH.Host)
	case w.Handler != "":
		return p.AdmitHandler(w.Handler)
	}
	return nil
}

func (r *Rules) some() bool { return r.Only || len(r.Deny) > 0 }

func (p *Policy) restricts() bool {
	return p.Users.some() || p.Commands.some() || p.Dirs.some() || p.NoShell
}

func (p *Policy) refusal(why string) error {
	return job.Errorf(job.CodeForbidden, "refused by the node's policy %s: %s", p.File, why)
}

// refuses says why an execution may not be, or "".
func (p *Policy) refuses(e job.Exec, is Resolved) string {
	names := []string{is.User, strconv.Itoa(is.UID)}
	if is.UID == 0 && is.User != "root" {
		names = append(names, "root") // another name for the same
	}
	if p.Users.Only { // allowed under its own name only, denied under any
		if why := (&Rules{Only: true, Allow: p.Users.Allow}).refuses(names[:2], glob); why != "" {
			return fmt.Sprintf("user %s %s", is.User, why)
		}
	}
	if why := (&Rules{Deny: p.Users.Deny}).refuses(names, glob); why != "" {
		return fmt.Sprintf("user %s %s", is.User, why)
	}
	if p.Dirs.some() {
		if why := p.Dirs.refuses([]string{is.Dir}, below); why != "" {
			return fmt.Sprintf("directory %s %s", is.Dir, why)
		}
	}
	if is.Command == "" {
		return ""
	}
	called := path.Base(e.Argv[0]) // one program may be many, by the name under which it is called
	if why := p.Commands.refuses([]string{is.Command}, globPath); why != "" {
		return fmt.Sprintf("command %s %s", is.Command, why)
	}
	if p.NoShell && (slices.Contains(shells, path.Base(is.Command)) || slices.Contains(shells, called)) {
		return fmt.Sprintf("command %s is a shell, and none is allowed", is.Command)
	}
	return ""
}

// env says which variable may not be set, or "".
func (p *Policy) env(env []string) string {
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if slices.ContainsFunc(p.DenyEnv, func(pattern string) bool { return glob(pattern, name) }) {
			return fmt.Sprintf("environment variable %s is denied", name)
		}
	}
	return ""
}

// AdmitHTTP tells whether an HTTP run may connect to an address.
func (p *Policy) AdmitHTTP(addr netip.Addr) error {
	addr = addr.Unmap()
	has := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(n netip.Prefix) bool { return n.Contains(addr) })
	}
	switch h := &p.HTTP; {
	case h.Off:
		return p.refusal("HTTP runs are not allowed")
	case has(h.Deny):
		return p.refusal(fmt.Sprintf("address %s is denied", addr))
	case h.Only && !has(h.Allow):
		return p.refusal(fmt.Sprintf("address %s is not allowed", addr))
	}
	return nil
}

// AdmitSSH tells whether a run may go to a host over SSH, as a user of that host; empty: whoever the agent is. A pattern is of the
// host, or of both: USER@HOST.
func (p *Policy) AdmitSSH(user, host string) error {
	names := []string{host}
	if user != "" {
		names = append(names, user+"@"+host)
	} else if u, err := osuser.Current(); err == nil {
		names = append(names, u.Username+"@"+host)
	}
	if why := p.SSH.refuses(names, glob); why != "" {
		return p.refusal(fmt.Sprintf("SSH to %s %s", names[len(names)-1], why))
	}
	return nil
}

// AdmitHandler tells whether a run may call a built-in handler.
func (p *Policy) AdmitHandler(name string) error {
	if why := p.Handlers.refuses([]string{name}, glob); why != "" {
		return p.refusal(fmt.Sprintf("handler %s %s", name, why))
	}
	return nil
}
