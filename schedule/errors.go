package schedule

import (
	"errors"
	"fmt"
	"strings"
)

// A ParseError says what is wrong at one place of a text, and how to mend it.
type ParseError struct {
	Index   int    // which of the expressions given to ParseAll; 0 otherwise
	Expr    string // the whole text
	Field   string // "minute", "hour", "day of month", ..., "timer", "time zone"
	Pos     int    // where the fault is, as a byte offset in Expr
	Len     int    // how many bytes it spans; 0 where something is missing
	Found   string // what stands there, shortened where it is long
	Allowed string // what may stand there
	Hint    string // what to write instead; may be empty
}

func (e *ParseError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, column %d: ", e.Field, e.Pos+1)
	if e.Found == "" {
		b.WriteString("nothing found")
	} else {
		fmt.Fprintf(&b, "found %q", e.Found)
	}
	fmt.Fprintf(&b, "; allowed: %s", e.Allowed)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// ParseErrors is returned when more than one thing is wrong, in the order of the text.
type ParseErrors []*ParseError

func (l ParseErrors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a *ParseError.
func (l ParseErrors) Unwrap() []error {
	list := make([]error, len(l))
	for i, e := range l {
		list[i] = e
	}
	return list
}

// Errors gives every ParseError in err, whether it holds one or several.
func Errors(err error) []*ParseError {
	var list ParseErrors
	if errors.As(err, &list) {
		return list
	}
	var one *ParseError
	if errors.As(err, &one) {
		return []*ParseError{one}
	}
	return nil
}

// err gives nil, the only error, or all of them.
func (l ParseErrors) err() error {
	switch len(l) {
	case 0:
		return nil
	case 1:
		return l[0]
	}
	return l
}

// clip shortens what someone else wrote for use in a message.
func clip(s string) string {
	const limit = 40
	if len(s) > limit {
		s = s[:limit-3] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// Near gives the candidate closest to word, letter case aside, if it is close enough to be what was meant.
func Near(word string, candidates []string) (string, bool) {
	const longest = 64
	if word == "" || len(word) > longest {
		return "", false
	}
	word = strings.ToUpper(word)
	best, found := "", 1+min(2, (len(word)+1)/3)
	for _, c := range candidates {
		if d := distance(word, strings.ToUpper(c)); d < found {
			best, found = c, d
		}
	}
	return best, best != ""
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between a and b.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
