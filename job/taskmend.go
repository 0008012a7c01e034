package job

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// badStart finds a value without quotes that begins with what means something else to YAML, as the timer of
// "timer: */5 * * * *" does.
var badStart = regexp.MustCompile("^(\\s*(?:- +)*)(?:[\"']?([A-Za-z_][\\w.-]*)[\"']?\\s*:\\s+)?([*@%`]|\\{\\{)(.*)$")

var startMeans = map[string]string{
	"*": "which YAML reads as an alias", "@": "which YAML reserves", "`": "which YAML reserves",
	"%": "which YAML reads as a directive", "{{": "which YAML reads as an object",
}

// explain makes a fault of what YAML complains of. Where it is one that can be mended, it changes the line in s.text.
func (s *source) explain(err error) (f FieldError, mended bool) {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return FieldError{Message: "YAML: " + err.Error()}, false
	}
	f = FieldError{Line: e.Mark.Line, Column: e.Mark.Column}
	for _, n := range []int{e.ContextMark.Line, e.Mark.Line, e.Mark.Line - 1} {
		fault, line, ok := unquoted(s.line(n))
		if ok && strings.HasPrefix(e.Message, "unknown anchor") && !strings.Contains(fault.Hint, " *") && !strings.Contains(fault.Hint, "* ") {
			break // an alias was meant
		}
		if ok {
			fault.Line = n
			s.text[n-1] = line
			return fault, true
		}
	}
	for _, n := range []int{e.Mark.Line, e.Mark.Line + 1} {
		if column, ok := tabIndent(s.line(n)); ok {
			f.Line, f.Column = n, column
			f.Message, f.Hint = "a tab is used as indentation, which YAML does not allow", "use spaces"
			if lines := s.tabs(); lines > 1 {
				f.Hint += fmt.Sprintf(" in all %d lines that begin with one", lines)
			}
			return f, false
		}
	}
	f.Message = "YAML: " + e.Message
	if e.ContextMsg != "" {
		f.Message += ", " + e.ContextMsg
		if e.ContextMark.Line > 0 && e.ContextMark.Line != e.Mark.Line {
			f.Message += fmt.Sprintf(" that begins at line %d", e.ContextMark.Line)
		}
	}
	switch {
	case strings.Contains(e.Message, "cannot start any token"), strings.Contains(e.ContextMsg, "alias"):
		f.Hint = "put the whole text in quotes"
	case strings.Contains(e.Message, "mapping values are not allowed"):
		f.Hint = `a text with ": " in it must stand in quotes, or below as a block after "|"`
	case strings.Contains(e.Message, "expected key"), strings.Contains(e.Message, "block end"):
		f.Hint = "see whether the indentation is right, and whether a text that begins with a quote or bracket ends with it"
	case strings.Contains(e.Message, "expected ':'"):
		f.Hint = "write NAME: value, with a space after the colon"
	case strings.Contains(e.Message, "unexpected end of stream"):
		f.Hint = "a quote is not closed"
	case strings.Contains(e.Message, "expected ','"):
		f.Hint = "a bracket is not closed"
	}
	return f, false
}

// unquoted tells of a line whose value should have been quoted, and gives the line with the quotes.
func unquoted(line string) (f FieldError, mended string, ok bool) {
	m := badStart.FindStringSubmatch(line)
	if m == nil || (m[2] == "" && !strings.Contains(m[1], "-")) {
		return f, "", false
	}
	value, comment := m[3]+m[4], ""
	if i := strings.Index(value, " #"); i >= 0 {
		value, comment = value[:i], value[i:]
	}
	head := line[:len(line)-len(m[3])-len(m[4])]
	trimmed := strings.TrimRight(value, " \t\r")
	quoted := `"` + trimmed + `"`
	if strings.ContainsAny(trimmed, `"\`) {
		quoted = "'" + strings.ReplaceAll(trimmed, "'", "''") + "'"
	}
	name := m[2]
	if name == "" {
		name = "an item"
	}
	f = FieldError{
		Column:  1 + len([]rune(head)),
		Message: fmt.Sprintf("%s starts with %q, %s", name, m[3], startMeans[m[3]]),
		Hint:    "quote it: " + quoted,
	}
	return f, head + quoted + comment, true
}

// tabIndent is the column of a tab in a line's indentation.
func tabIndent(line string) (int, bool) {
	blank := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	i := strings.IndexByte(blank, '\t')
	return i + 1, i >= 0 && strings.TrimSpace(line) != ""
}

func (s *source) tabs() int {
	n := 0
	for _, line := range s.text {
		if _, ok := tabIndent(line); ok {
			n++
		}
	}
	return n
}
