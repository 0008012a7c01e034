package store

import (
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// DefaultPrefix stands before every key.
const DefaultPrefix = "/rota/v1/"

// leaderKey is held by the master that decides.
const leaderKey = "leader"

// part is one part of a key after its root. encode turns what it names into text that is safe in a
// key, decode is its inverse, and each refuses whatever the other could not give back.
type part struct {
	sort           string
	encode, decode func(sort, s string) (string, error)
}

// name is a part that is a valid name as it stands.
func name(sort string) part { return part{sort, checked, checked} }

func checked(sort, s string) (string, error) { return s, job.CheckName(sort, s) }

// instant is a part in the form of [job.FormatInstant].
func instant() part { return part{"instant", checkedInstant, checkedInstant} }

func checkedInstant(_, s string) (string, error) {
	t, err := job.ParseInstant(s)
	if err != nil {
		return "", err
	}
	if job.FormatInstant(t) != s {
		return "", job.Errorf(job.CodeInvalid, "instant %q has fractions of a second", s)
	}
	return s, nil
}

// noNode stands in a key for a node where no node had a part. It is not a valid name.
const noNode = "-"

// nodeOrNone is a part that may be empty.
func nodeOrNone() part {
	return part{"node",
		func(sort, s string) (string, error) {
			if s == "" {
				return noNode, nil
			}
			return checked(sort, s)
		},
		func(sort, s string) (string, error) {
			if s == noNode {
				return "", nil
			}
			return checked(sort, s)
		}}
}

// scope is the group of a configuration: empty for the global one.
func scope() part {
	return part{"group",
		func(sort, s string) (string, error) {
			if s == "" {
				return "global", nil
			}
			g, err := checked(sort, s)
			return "group/" + g, err
		},
		func(sort, s string) (string, error) {
			if s == "global" {
				return "", nil
			}
			g, ok := strings.CutPrefix(s, "group/")
			if !ok {
				return "", job.Errorf(job.CodeInvalid, "want global or group/NAME, found %q", s)
			}
			return checked(sort, g)
		}}
}

// layout is how the keys of one collection are made, below the store's prefix.
type layout struct {
	root  string
	parts []part
}

// key is the key of a whole value.
func (l layout) key(parts ...string) (string, error) {
	if len(parts) != len(l.parts) {
		return "", job.Errorf(job.CodeInvalid, "a key of %s has %d parts, found %d", l.root, len(l.parts), len(parts))
	}
	k, err := l.join(parts)
	return strings.TrimSuffix(k, "/"), err
}

// span is the range of keys that begin with the parts; end is empty where they name one key.
func (l layout) span(parts ...string) (key, end string, err error) {
	if len(parts) > len(l.parts) {
		return "", "", job.Errorf(job.CodeInvalid, "a key of %s has %d parts, found %d", l.root, len(l.parts), len(parts))
	}
	k, err := l.join(parts)
	if err != nil {
		return "", "", err
	}
	if len(parts) == len(l.parts) {
		return strings.TrimSuffix(k, "/"), "", nil
	}
	return k, prefixEnd(k), nil
}

func (l layout) join(parts []string) (string, error) {
	var b strings.Builder
	b.WriteString(l.root)
	b.WriteByte('/')
	for i, s := range parts {
		enc, err := l.parts[i].encode(l.parts[i].sort, s)
		if err != nil {
			return "", err
		}
		b.WriteString(enc)
		b.WriteByte('/')
	}
	return b.String(), nil
}

// parse is the inverse of key.
func (l layout) parse(key string) ([]string, error) {
	rest, ok := strings.CutPrefix(key, l.root+"/")
	if !ok {
		return nil, job.Errorf(job.CodeInvalid, "key %q is not one of %s", key, l.root)
	}
	segments := strings.Split(rest, "/")
	if len(segments) == len(l.parts)+1 && segments[0] == "group" { // a scope of two segments
		segments = append([]string{segments[0] + "/" + segments[1]}, segments[2:]...)
	}
	if len(segments) != len(l.parts) {
		return nil, job.Errorf(job.CodeInvalid, "key %q: want %d parts after %s", key, len(l.parts), l.root)
	}
	parts := make([]string, len(segments))
	for i, s := range segments {
		p, err := l.parts[i].decode(l.parts[i].sort, s)
		if err != nil {
			return nil, job.Errorf(job.CodeInvalid, "key %q: %w", key, err)
		}
		parts[i] = p
	}
	return parts, nil
}

// The layouts of all collections.
var (
	taskKeys     = layout{"tasks", []part{name("group"), name("task")}}
	nodeKeys     = layout{"nodes", []part{name("node")}}
	onlineKeys   = layout{"online", []part{name("node")}}
	jobKeys      = layout{"jobs", []part{name("node"), name("job")}}
	dispatchKeys = layout{"dispatch", []part{name("node"), name("run")}}
	killKeys     = layout{"kills", []part{name("node"), name("run")}}
	processKeys  = layout{"proc", []part{name("node"), name("group"), name("job"), name("process")}}
	recordKeys   = layout{"records", []part{nodeOrNone(), name("record")}}
	claimKeys    = layout{"claims", []part{name("group"), name("task"), instant()}}
	lockKeys     = layout{"locks", []part{name("group"), name("task")}}
	floorKeys    = layout{"settled", []part{name("group"), name("task")}}
	configKeys   = layout{"config", []part{scope(), name("configuration")}}
	calendarKeys = layout{"calendars", []part{name("calendar")}}
	clockKeys    = layout{"clocks", []part{nodeOrNone()}}
	replaceKeys  = layout{"replace", []part{name("node"), name("run")}}
	followKeys   = layout{"follow", []part{name("node"), name("follow")}}
	tokenKeys    = layout{"tokens", []part{name("token")}}
	masterKeys   = layout{"masters", []part{name("master")}}
)

func claimKey(task job.TaskRef, at time.Time) (string, error) {
	return claimKeys.key(task.Group, task.Name, job.FormatInstant(at))
}

// claimsUpTo is the range of a task's claims in (from, to]; a zero from has no bound.
func claimsUpTo(task job.TaskRef, from, to time.Time) (key, end string, err error) {
	first, _, err := claimKeys.span(task.Group, task.Name)
	if err == nil && !from.IsZero() {
		if first, err = claimKey(task, from); err == nil {
			first += "\x00"
		}
	}
	if err != nil {
		return "", "", err
	}
	last, err := claimKey(task, to)
	return first, last + "\x00", err
}
