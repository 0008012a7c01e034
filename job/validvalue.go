package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// addKey notes a fault of an entry's key.
func (f *Faults) addKey(path, hint, format string, args ...any) {
	f.AddHint(path, hint, format, args...)
	f.Fields[len(f.Fields)-1].at.key = true
}

// entry is how a path goes on to an entry of a map.
func entry(key string) string {
	if plainKey(key) {
		return "." + key
	}
	return "[" + strconv.Quote(key) + "]"
}

func plainKey(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != ""
}

// checkText checks what will be an argument, a variable or a path of a process.
func checkText(f *Faults, path, s string, limit int) {
	switch i := strings.IndexByte(s, 0); {
	case i >= 0:
		f.Add(path, "there is a NUL byte in it")
		f.Fields[len(f.Fields)-1].at.off = i
	case !utf8.ValidString(s):
		f.Add(path, "it is not UTF-8")
	case len(s) > limit:
		f.Add(path, "it has %d bytes, at most %d are allowed", len(s), limit)
	}
}

// checkValue checks the values in a text.
func checkValue(f *Faults, path, s string, shell bool) {
	if !hasValues(s) {
		return
	}
	t, faults := parseText(s)
	if len(faults) == 0 && shell {
		_, faults = t.quoting()
	}
	for _, e := range faults {
		e.Path = path
		f.Fields = append(f.Fields, e)
	}
}

func checkEnum[S ~string](f *Faults, path string, s S, allowed []S) {
	if !slices.Contains(allowed, s) {
		f.AddHint(path, wantOneOf(s, allowed), "%q is not known", string(s))
	}
}

func checkDuration(f *Faults, path string, d Duration) {
	switch {
	case d < 0:
		f.Add(path, "%s is negative", d)
	case d.Std()%time.Second != 0:
		f.AddHint(path, fmt.Sprintf("write %ds", d.Seconds()), "%s is not a whole number of seconds", d)
	}
}

// validUser tells whether s is a login name or a number.
func validUser(s string) bool {
	const longest = 64
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '-' || c == '.'), i > 0 && i == len(s)-1 && c == '$':
		default:
			return false
		}
	}
	return s != "" && len(s) <= longest
}

func validEnvName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', i > 0 && '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return s != ""
}

// valueTexts calls a function with every text of the task that may have values in it.
func (t *Task) valueTexts(use func(string)) {
	use(t.Command.Line)
	for _, s := range t.Command.Argv {
		use(s)
	}
	for _, s := range t.Env {
		use(s)
	}
	use(t.Stdin)
	use(t.Dir)
	t.wayTexts(use)
}

func (t *Task) countValues() int {
	n := 0
	t.valueTexts(func(s string) { n += strings.Count(s, "{{") })
	return n
}

// ConfigNames are the names of the configuration that the task's values use, sorted.
func (t *Task) ConfigNames() []string {
	names := map[string]bool{}
	t.valueTexts(func(s string) {
		if !hasValues(s) {
			return
		}
		if v, err := ParseText(s); err == nil {
			for _, n := range v.ConfigNames() {
				names[n] = true
			}
		}
	})
	return slices.Sorted(maps.Keys(names))
}
