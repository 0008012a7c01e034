package policy

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// DefaultFile is where a node's policy is, if it has one.
const DefaultFile = "/etc/rota/node.yaml"

// Policy says what may run on a node. The zero Policy allows what the agent's user may do. It is immutable, and safe for
// concurrent use.
type Policy struct {
	File string // where it stands; empty: there is none

	Users       Rules  // login names, or patterns of them
	DefaultUser string // whom a task runs as that names nobody; empty: the agent's own user
	Commands    Rules  // patterns of absolute paths, as they are after PATH and symbolic links
	Dirs        Rules  // absolute paths; each stands for what is below it too
	NoShell     bool   // no command may be a shell
	DenyEnv     []string
	HTTP        Networks
	SSH         Rules // hosts or USER@HOST, or patterns of them
	Handlers    Rules // names of handlers, or patterns of them
	Timeout     Span
	Output      Size
	Limits      Limits
	MaxRuns     int // at once on the node; 0: any number
}

// Rules are lists of patterns: what a denied one matches is refused, and where there is a list of allowed ones, so is
// all else.
type Rules struct {
	Only        bool // nothing but Allow
	Allow, Deny []string
}

// Span bounds a time. Zero fields bound nothing.
type Span struct{ Max, Default time.Duration }

// Size bounds a number of bytes. Zero fields bound nothing.
type Size struct{ Max, Default int64 }

// Limits bound what runs may use of the machine. Max is what none may exceed, also by setting nothing; zero fields bound
// nothing. Default is for those that set nothing.
type Limits struct{ Max, Default job.Limits }

// Networks are where HTTP runs may go, besides what the rules for HTTP runs allow everywhere.
type Networks struct {
	Off         bool // no HTTP runs at all
	Only        bool // nothing but Allow
	Allow, Deny []netip.Prefix
}

// dangerous are the variables that turn an allowed program into another one. They are denied where commands are
// restricted, with those that the file names, unless it says that none is.
var dangerous = []string{
	"LD_*", "GCONV_PATH", "BASH_ENV", "ENV", "SHELLOPTS", "PERL5LIB", "PERL5OPT", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP",
	"RUBYLIB", "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND",
}

// shells are the programs that turn data into code.
var shells = []string{"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "csh", "tcsh", "busybox"}

// refuses says why the rules refuse any of the names of one thing, or "". match tells whether a pattern matches a name.
func (r *Rules) refuses(names []string, match func(pattern, name string) bool) string {
	has := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return match(p, n) })
		})
	}
	switch {
	case has(r.Deny):
		return "is denied"
	case r.Only && !has(r.Allow):
		return "is not allowed"
	}
	return ""
}

// glob matches a name without slashes.
func glob(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// globPath matches a path: * stands for anything but a slash, and /** at the end for everything below.
func globPath(pattern, name string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/**"); ok {
		for name != "/" && name != "." {
			if name = path.Dir(name); dir == "" || glob(dir, name) {
				return true
			}
		}
		return false
	}
	return glob(pattern, name)
}

// below matches a directory and everything below it.
func below(pattern, name string) bool {
	pattern = strings.TrimRight(pattern, "/")
	return pattern == "" || glob(pattern, name) || globPath(pattern+"/**", name)
}
