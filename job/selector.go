package job

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Selector says on which nodes a task may be, by their labels and conditions:
//
//	role in (db,cache), !edge, DiskPressure!=True
//
// Every part must hold. A key is a label, or, where the node has no such label, the type of a condition, whose status is
// its value. A node without the key fulfils !=, notin and !KEY, and no other part.
type Selector struct{ parts []requirement }

// requirement is KEY, !KEY, or KEY with values; without != and notin one of them is wanted.
type requirement struct {
	key    string
	not    bool
	values []string // sorted; none: that the key is there
}

// Bounds of a selector.
const (
	maxSelector      = 4 << 10 // bytes
	maxSelectorParts = 64
)

// ParseSelector reads a selector; the empty one selects every node. An error says at which column, from 1, and how to mend it.
func ParseSelector(text string) (Selector, error) {
	p := selectorParser{text: text}
	if len(text) > maxSelector {
		return Selector{}, Errorf(CodeInvalid, "the selector has %d bytes, at most %d are allowed", len(text), maxSelector)
	}
	var s Selector
	if p.skip(); p.at == len(text) {
		return s, nil
	}
	for {
		r, err := p.part()
		if err != nil {
			return Selector{}, err
		}
		s.parts = append(s.parts, r)
		if len(s.parts) > maxSelectorParts {
			return Selector{}, Errorf(CodeInvalid, "the selector has more than %d parts", maxSelectorParts)
		}
		if p.skip(); p.at == len(text) {
			return s, nil
		}
		if !p.take(",") {
			return Selector{}, p.fault("separate parts by commas: role=db, !edge", "found %q, want a comma or the end", p.rest())
		}
	}
}

type selectorParser struct {
	text string
	at   int
}

func (p *selectorParser) skip() {
	for p.at < len(p.text) && strings.ContainsRune(" \t\r\n", rune(p.text[p.at])) {
		p.at++
	}
}

func (p *selectorParser) take(token string) bool {
	if p.skip(); !strings.HasPrefix(p.text[p.at:], token) {
		return false
	}
	p.at += len(token)
	return true
}

func (p *selectorParser) rest() string {
	r := []rune(p.text[p.at:])
	return string(r[:min(len(r), 12)])
}

func (p *selectorParser) fault(hint, format string, args ...any) error {
	return Errorf(CodeInvalid, "column %d: %s", len([]rune(p.text[:p.at]))+1, fmt.Sprintf(format, args...)).WithHint("%s", hint)
}

// word is what stands up to a blank or a sign.
func (p *selectorParser) word() string {
	p.skip()
	from := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n,()!=", rune(p.text[p.at])) {
		p.at++
	}
	return p.text[from:p.at]
}

func (p *selectorParser) part() (requirement, error) {
	r := requirement{not: p.take("!")}
	p.skip()
	from := p.at
	if r.key = p.word(); r.key == "" {
		return r, p.fault("write one of KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B)", "found %q, want the name of a label or a condition", p.rest())
	}
	if err := CheckName("label", r.key); err != nil {
		p.at = from
		return r, p.fault("write one of KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B)", "%v", err)
	}
	if r.not {
		return r, nil
	}
	switch {
	case p.take("!="):
		r.not = true
		return r, p.value(&r)
	case p.take("=="), p.take("="):
		return r, p.value(&r)
	}
	from = p.at
	switch op := p.word(); op {
	case "notin":
		r.not = true
		return r, p.list(&r)
	case "in":
		return r, p.list(&r)
	case "":
		return r, nil
	default:
		p.at = from
		p.skip()
		return r, p.fault("use =, !=, in or notin, or a comma before the next part", "found %q after %s", op, r.key)
	}
}

func (p *selectorParser) value(r *requirement) error {
	v := p.word()
	if v == "" {
		return p.fault("write the value that is meant; whether there is any value is told by KEY or !KEY", "found %q, want the value of %s", p.rest(), r.key)
	}
	r.values = append(r.values, v)
	return nil
}

func (p *selectorParser) list(r *requirement) error {
	if !p.take("(") {
		return p.fault("put the values in parentheses: role in (db,cache)", "found %q, want (", p.rest())
	}
	for {
		if err := p.value(r); err != nil {
			return err
		}
		switch {
		case p.take(","):
		case p.take(")"):
			slices.Sort(r.values)
			r.values = slices.Compact(r.values)
			return nil
		default:
			return p.fault("close the list with )", "found %q, want a comma or )", p.rest())
		}
	}
}

// String is the selector in its one form: parts as they came, the values of each sorted.
func (s Selector) String() string {
	list := make([]string, len(s.parts))
	for i, r := range s.parts {
		list[i] = r.String()
	}
	return strings.Join(list, ", ")
}

func (r requirement) String() string {
	switch {
	case len(r.values) == 0 && r.not:
		return "!" + r.key
	case len(r.values) == 0:
		return r.key
	case len(r.values) == 1 && r.not:
		return r.key + "!=" + r.values[0]
	case len(r.values) == 1:
		return r.key + "=" + r.values[0]
	case r.not:
		return r.key + " notin (" + strings.Join(r.values, ",") + ")"
	}
	return r.key + " in (" + strings.Join(r.values, ",") + ")"
}

func (r requirement) holds(n *Node) bool {
	v, ok := n.Labels[r.key]
	if !ok {
		v, ok = n.Conditions[r.key]
	}
	if len(r.values) == 0 {
		return ok != r.not
	}
	return (ok && slices.Contains(r.values, v)) != r.not
}

// Matches tells whether the selector selects a node.
func (s Selector) Matches(n *Node) bool { return s.Unmet(n) == "" }

// Unmet is the first part that a node does not fulfil and what the node has, or "".
func (s Selector) Unmet(n *Node) string {
	for _, r := range s.parts {
		if r.holds(n) {
			continue
		}
		if v, ok := n.Labels[r.key]; ok {
			return fmt.Sprintf("%s: its label is %s", r, v)
		}
		if v, ok := n.Conditions[r.key]; ok {
			return fmt.Sprintf("%s: its condition is %s", r, v)
		}
		return fmt.Sprintf("%s: it has no such label or condition", r)
	}
	return ""
}

// NamesNode tells whether names of a task's nodes mean a node: NAME, a pattern such as db*, and with ! before it, which nodes are
// left out. Where nothing but what is left out is named, all others are meant.
func NamesNode(names []NodeID, id NodeID) bool {
	wanted, found := false, false
	for _, n := range names {
		pattern, not := strings.CutPrefix(string(n), "!")
		ok := pattern == string(id)
		if !ok && strings.ContainsAny(pattern, "*?[") {
			ok, _ = path.Match(pattern, string(id)) // a malformed pattern was refused, and means none
		}
		switch {
		case not && ok:
			return false
		case !not:
			wanted, found = true, found || ok
		}
	}
	return found || !wanted
}

// PlainNames tells whether names of nodes are nothing but that: no patterns, nothing left out, and at least one.
func PlainNames(names []NodeID) bool {
	return len(names) > 0 && !slices.ContainsFunc(names, func(n NodeID) bool { return strings.ContainsAny(string(n), "!*?[") })
}

// Spread says which nodes are chosen where a task is to be on some of many.
type Spread string

// The ways.
const (
	SpreadHash Spread = "hash" // by the task's name: even over many tasks, and the same each time
	SpreadLoad Spread = "load" // those with the fewest jobs
)

// Spreads are all of them.
var Spreads = []Spread{SpreadHash, SpreadLoad}

// checkWhere adds the faults of where the task may be, but for its labels.
func (t *Task) checkWhere(f *Faults, prefix string) {
	if _, err := ParseSelector(t.Where); err != nil {
		f.AddError(prefix+"where", err)
	}
	if t.MaxNodes < 0 {
		f.Add(prefix+"max_nodes", "%d is negative", t.MaxNodes)
	}
	if t.Spread != "" && !slices.Contains(Spreads, t.Spread) {
		f.AddHint(prefix+"spread", wantOneOf(t.Spread, Spreads), "%q is not known", t.Spread)
	}
	if t.Spread != "" && t.MaxNodes == 0 {
		f.AddHint(prefix+"spread", "give max_nodes too", "there is nothing to choose: the task is on every node that it selects")
	}
}

// checkNodeName checks one of the names of a task's nodes.
func checkNodeName(f *Faults, at string, n NodeID) {
	pattern := strings.TrimPrefix(string(n), "!")
	if !strings.ContainsAny(pattern, "*?[") {
		if err := CheckName("node", pattern); err != nil {
			f.AddError(at, err)
		}
		return
	}
	if _, err := path.Match(pattern, "x"); err != nil || len(pattern) > 128 {
		f.AddHint(at, "write a pattern such as db* or db[1-3]", "%q is not a pattern", pattern)
	}
}
