package job

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// DefaultJobGroup is the group of a task that names none.
const DefaultJobGroup = "default"

// NodeID names a machine that runs jobs. It is a valid name (see [CheckName]).
type NodeID string

// RunID names one firing or one request of a job, and the record in which it ends. Where
// it is derived from its cause (see [FiringID], [CauseID]), asking twice is asking once.
type RunID string

// TaskRef names a task.
type TaskRef struct{ Group, Name string }

// Ref returns the reference to a task; an empty group is the default one.
func Ref(group, name string) TaskRef {
	if group == "" {
		group = DefaultJobGroup
	}
	return TaskRef{Group: group, Name: name}
}

// String is the reference as it is written: group/name.
func (r TaskRef) String() string { return r.Group + "/" + r.Name }

// ParseRef reads group/name, or name for the default group.
func ParseRef(s string) (TaskRef, error) {
	group, name, ok := strings.Cut(s, "/")
	if !ok {
		group, name = DefaultJobGroup, s
	}
	r := TaskRef{Group: group, Name: name}
	if err := CheckName("group", group); err != nil {
		return TaskRef{}, err
	}
	if err := CheckName("task", name); err != nil {
		return TaskRef{}, err
	}
	return r, nil
}

// MarshalText writes group/name.
func (r TaskRef) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what [ParseRef] reads.
func (r *TaskRef) UnmarshalText(b []byte) error {
	ref, err := ParseRef(string(b))
	if err == nil {
		*r = ref
	}
	return err
}

// MaxName is the most bytes that a name may have.
const MaxName = 128

// CheckName tells whether s can name a thing of the given sort (task, group, node, run): letters,
// digits, '.', '_' and '-', beginning and ending with a letter or digit, at most [MaxName]
// bytes. Such a name is safe as a part of an etcd key, of a path and of an address.
func CheckName(sort, s string) error {
	if s == "" {
		return Errorf(CodeInvalid, "the %s has no name", sort)
	}
	if len(s) > MaxName {
		return Errorf(CodeInvalid, "%s name %.40q… has %d bytes, at most %d are allowed", sort, s, len(s), MaxName)
	}
	for i, c := range s {
		inner := i > 0 && i < len(s)-1
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case inner && (c == '-' || c == '_' || c == '.'):
		default:
			return Errorf(CodeInvalid, "%s name %q has %q at position %d", sort, s, c, 1+utf8.RuneCountInString(s[:i])).
				WithHint("use letters, digits and, between them, '-', '_' and '.'")
		}
	}
	return nil
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// digest turns parts into a short name that is the same everywhere. Each part is
// preceded by its length, so that ("a","bc") and ("ab","c") differ.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return idEncoding.EncodeToString(h.Sum(nil)[:15])
}

// JobHash is the identity of a task's job on a node.
func JobHash(task TaskRef, node NodeID) string {
	return digest("job", task.Group, task.Name, string(node))
}

// FiringID is the identity of a task's firing at an instant, and of its record: for a
// common task one per node, for interval and alone (node empty) one for the task.
func FiringID(task TaskRef, node NodeID, instant time.Time) RunID {
	return RunID(digest("fire", task.Group, task.Name, string(node), FormatInstant(instant)))
}

// CauseID is the identity of a run of a job that something else caused: a record whose
// result names a next task, a dependency, a request with a key of its own.
func CauseID(cause string, jobHash string) RunID {
	return RunID(digest("cause", cause, jobHash))
}

// instantLayout has a fixed width, so that instants sort as text in the order of time.
const instantLayout = "2006-01-02T15:04:05Z"

// FormatInstant writes an instant: UTC, whole seconds.
func FormatInstant(t time.Time) string { return t.UTC().Format(instantLayout) }

// ParseInstant reads what [FormatInstant] wrote, and nothing else: an instant has one form, for it stands in keys.
func ParseInstant(s string) (time.Time, error) {
	t, err := time.Parse(instantLayout, s)
	if err != nil || FormatInstant(t) != s { // the package time reads fractions that the layout does not have
		return time.Time{}, Errorf(CodeInvalid, "instant %q: want the form %s", s, instantLayout)
	}
	return t, nil
}
