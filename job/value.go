package job

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm"
)

// Text is a text with values in it, such as "{{ config.DB_HOST }}:5432". It is immutable.
//
// Between the braces stands an expression over the names
//
//	config.NAME       the configuration of the group, else the global one
//	params.NAME       what the request for the run brought along
//	node.name         the node that runs it
//	node.labels.NAME  one of its labels
//	instant           the scheduled time, such as 2026-12-01T10:00:00Z
//	task.name, task.group, run
//
// all of which are text, and, in the steps of an execution, over
//
//	steps.STEP.outcome        how a step before this one ended: success, failed, skipped…
//	steps.STEP.result.FIELD   what its run handed back; steps["a-b"].… where the name is no plain word
//	steps.STEP.results        of a step with several runs, those of all, in their order
//	item                      what a step with foreach runs for; item.FIELD
//
// which are whatever JSON can say. A name that has no value is an error, unless it stands before ??:
// {{ params.DAYS ?? "7" }}. A quoted text alone between the braces is that text and no value: "{{" itself is written
// {{ "{{" }}; "}}" alone is plain text.
type Text struct {
	source string
	parts  []part
}

// part is plain text, or a value where there are names or a program.
type part struct {
	value   bool
	text    string      // the plain text, or the value's source
	off     int         // where it begins in the template, its braces included
	end     int         // and where it ends
	program *vm.Program // nil where the value is that of its only name
	names   []valueName
}

// valueName is a name in an expression.
type valueName struct {
	text     string   // as it is looked up, such as config.DB_HOST
	path     []string // its words
	optional bool     // it stands before ??
	off      int      // in the template
}

// data tells whether the name is of what an execution hands to its steps.
func (n valueName) data() bool { return n.path[0] == "steps" || n.path[0] == "item" }

// hasValues tells whether a text is more than plain.
func hasValues(s string) bool { return strings.Contains(s, "{{") }

// ParseText reads a text with values. Its error is an [Error] of [CodeInvalid] whose Fields are the faults,
// with their line and column in the text.
func ParseText(s string) (*Text, error) {
	t, faults := parseText(s)
	if len(faults) > 0 {
		f := Faults{Fields: located(s, faults)}
		return nil, f.Err("the value cannot be read")
	}
	return t, nil
}

// located gives faults of a text their line and column in it.
func located(s string, faults []FieldError) []FieldError {
	for i, f := range faults {
		head := s[:min(f.at.off, len(s))]
		start := strings.LastIndexByte(head, '\n') + 1
		faults[i].Line = 1 + strings.Count(head, "\n")
		faults[i].Column = 1 + utf8.RuneCountInString(head[start:])
	}
	return faults
}

func parseText(s string) (*Text, []FieldError) {
	t := &Text{source: s}
	if !hasValues(s) {
		t.parts = []part{{text: s, end: len(s)}}
		return t, nil
	}
	var faults []FieldError
	for off := 0; off < len(s); {
		open := strings.Index(s[off:], "{{")
		if open < 0 {
			t.parts = append(t.parts, part{text: s[off:], off: off, end: len(s)})
			break
		}
		open += off
		if open > off {
			t.parts = append(t.parts, part{text: s[off:open], off: off, end: open})
		}
		inner := open + len("{{")
		size, ok := closing(s[inner:])
		if !ok {
			return t, append(faults, FieldError{
				Message: `"{{" is not closed by "}}"`, Hint: escapeHint, at: place{off: open},
			})
		}
		p, bad := parseExpression(s[inner:inner+size], inner)
		p.off, p.end = open, inner+size+len("}}")
		t.parts, faults = append(t.parts, p), append(faults, bad...)
		off = p.end
	}
	return t, faults
}

const escapeHint = `to write "{{" itself, use {{ "{{" }}`

// closing finds the braces that end an expression: the first ones outside of its strings and of its
// own braces.
func closing(s string) (int, bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\'', '`':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' && c != '`' {
					i++
				}
			}
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(s[i:], "}}") {
				return i, true
			}
			depth = max(depth-1, 0)
		}
	}
	return 0, false
}

// Names are the names that the template uses, such as config.DB_HOST, in their order, each once.
func (t *Text) Names() []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range t.parts {
		for _, n := range p.names {
			if !seen[n.text] {
				seen[n.text] = true
				names = append(names, n.text)
			}
		}
	}
	return names
}

// ConfigNames are the names of the configuration that the template uses.
func (t *Text) ConfigNames() []string {
	var names []string
	for _, n := range t.Names() {
		if name, ok := strings.CutPrefix(n, "config."); ok {
			names = append(names, name)
		}
	}
	return names
}

// String is the text that was parsed.
func (t *Text) String() string { return t.source }

// Fill puts the values in. Its error names what has none.
func (t *Text) Fill(scope Scope) (string, error) {
	return t.fill(scope, func(_ int, v string) (string, error) { return v, nil })
}

// fill puts in the values as the function writes them; its number is that of the part.
func (t *Text) fill(scope Scope, write func(int, string) (string, error)) (string, error) {
	var b strings.Builder
	var f Faults
	for i, p := range t.parts {
		if !p.value {
			b.WriteString(p.text)
			continue
		}
		v, err := p.eval(scope)
		if err == nil {
			v, err = write(i, v)
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				e = Errorf(CodeInvalid, "%v", err)
			}
			f.Fields = append(f.Fields, FieldError{Message: "{{" + p.text + "}}: " + e.Message, Hint: e.Hint})
			continue
		}
		b.WriteString(v)
		if b.Len() > maxFilled {
			return "", Errorf(CodeInvalid, "with its values the text has more than %d bytes", maxFilled)
		}
	}
	if err := f.Err(""); err != nil {
		return "", err
	}
	return b.String(), nil
}
