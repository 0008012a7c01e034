package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// source is a document's text, to which positions refer.
type source struct {
	file string // empty for what came over the wire
	data []byte
	text []string // its lines
}

// parse gives the roots of the documents, or what keeps them from being read.
func (s *source) parse() ([]*yaml.Node, []FieldError) {
	if f, ok := s.unreadable(); ok {
		return nil, []FieldError{f}
	}
	data := bytes.TrimPrefix(s.data, []byte("\ufeff"))
	// YAML knows almost all of JSON, but not its pairs of \u escapes.
	if head := bytes.TrimLeft(data, " \t\r\n"); len(head) > 0 && (head[0] == '{' || head[0] == '[') {
		named := filepath.Ext(s.file) == ".json"
		if named || json.Valid(data) {
			s.data, s.text = data, nil
			root, fault := parseJSON(data)
			if fault != nil {
				fault.File = s.file
				return nil, []FieldError{*fault}
			}
			return []*yaml.Node{root}, nil
		}
	}
	return s.parseYAML(data)
}

// unreadable is why the data cannot be text.
func (s *source) unreadable() (FieldError, bool) {
	f := FieldError{File: s.file}
	var at int
	switch {
	case len(s.data) > MaxTaskFile:
		f.Message = fmt.Sprintf("it has more than %d bytes", MaxTaskFile)
		return f, true
	case bytes.IndexByte(s.data, 0) >= 0:
		at = bytes.IndexByte(s.data, 0)
		f.Message, f.Hint = "there is a NUL byte", "save it as UTF-8 text"
	case !utf8.Valid(s.data):
		for at = 0; at < len(s.data); {
			r, size := utf8.DecodeRune(s.data[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		f.Message, f.Hint = fmt.Sprintf("byte %#x is not UTF-8", s.data[at]), "save it as UTF-8 text"
	default:
		return f, false
	}
	f.Line, f.Column = lineColumn(s.data, at)
	return f, true
}

// lineColumn is where an offset is, counted from 1.
func lineColumn(data []byte, off int) (line, column int) {
	head := data[:min(off, len(data))]
	start := bytes.LastIndexByte(head, '\n') + 1
	return 1 + bytes.Count(head, []byte("\n")), 1 + utf8.RuneCount(head[start:])
}

// line is the nth line of the text, from 1, without its end. Lines that are too long to be looked at for
// each fault are empty.
func (s *source) line(n int) string {
	const longest = 8 << 10
	if s.text == nil {
		s.text = strings.Split(strings.ReplaceAll(string(s.data), "\r\n", "\n"), "\n")
	}
	if n < 1 || n > len(s.text) || len(s.text[n-1]) > longest {
		return ""
	}
	return s.text[n-1]
}

// parseYAML parses all documents. What is known to go wrong often is mended in memory, so that the faults after
// it are found as well.
func (s *source) parseYAML(data []byte) ([]*yaml.Node, []FieldError) {
	const mendings = 20
	var faults []FieldError
	s.data, s.text = data, nil
	for {
		docs, err := loadAll(s.data)
		if err == nil {
			return docs, faults
		}
		fault, mended := s.explain(err)
		fault.File = s.file
		faults = append(faults, fault)
		if !mended || len(faults) > mendings {
			return nil, faults
		}
		s.data = []byte(strings.Join(s.text, "\n"))
	}
}

// loadAll gives the root of each document.
func loadAll(data []byte) ([]*yaml.Node, error) {
	l, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var docs []*yaml.Node
	for {
		var n yaml.Node
		switch err := l.Load(&n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
			docs = append(docs, n.Content[0])
		}
	}
}

// position is where an offset into a scalar's value is in the text, or where the scalar begins if that cannot be told.
func (s *source) position(n *yaml.Node, off int) (line, column int) {
	if off <= 0 || off > len(n.Value) {
		return n.Line, n.Column
	}
	head := n.Value[:off]
	start := strings.LastIndexByte(head, '\n') + 1
	if n.Style&(yaml.LiteralStyle) != 0 {
		line := n.Line + 1 + strings.Count(head, "\n")
		content, _, _ := strings.Cut(n.Value[start:], "\n")
		indent, _, ok := strings.Cut(s.line(line), content)
		if ok && strings.TrimSpace(indent) == "" {
			return line, 1 + utf8.RuneCountInString(indent) + utf8.RuneCountInString(head[start:])
		}
		return n.Line, n.Column
	}
	column = n.Column
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		column++
	}
	text := []rune(s.line(n.Line))
	if start == 0 && column-1 <= len(text) && strings.HasPrefix(string(text[column-1:]), head) {
		return n.Line, column + utf8.RuneCountInString(head)
	}
	return n.Line, n.Column
}

// locate gives a fault of the checks the position of what it concerns: of the field, or, where that is not
// written, of what it would stand in.
func (d *decoder) locate(f FieldError) FieldError {
	f.File = d.src.file
	at := f.at
	f.at = place{}
	for path := f.Path; ; path = parentPath(path) {
		n := d.values[path]
		if key := d.keys[path]; at.key && key != nil {
			n = key
		}
		switch {
		case n == nil && path != "":
			continue
		case n == nil:
			return f
		case n.Kind == yaml.SequenceNode && len(n.Content) == 1 && at.item > 0:
			n, at.off = n.Content[0], at.item
		case path == f.Path && strings.HasSuffix(path, "]") && at.item > 0:
			at.off = at.item
		}
		f.Line, f.Column = n.Line, n.Column
		if n.Kind == yaml.ScalarNode && !at.key {
			f.Line, f.Column = d.src.position(n, at.off)
		}
		return f
	}
}

// parentPath is the path without its last step.
func parentPath(path string) string {
	i := strings.LastIndexByte(path, '.')
	switch {
	case strings.HasSuffix(path, `"]`):
		i = strings.LastIndex(path, `["`)
	case strings.HasSuffix(path, "]"):
		i = strings.LastIndexByte(path, '[')
	}
	return path[:max(i, 0)]
}

func isNull(n *yaml.Node) bool {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// find is the value of a key of a mapping.
func find(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i].Kind == yaml.ScalarNode {
			return n.Content[i+1]
		}
	}
	return nil
}

// found says what stands there.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "an object"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "the number " + clip(n.Value)
	case n.Tag == "!!bool":
		return n.Value
	}
	return fmt.Sprintf("the text %q", clip(n.Value))
}

// clip shortens what somebody else wrote for a message.
func clip(s string) string {
	const limit = 40
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

// braces is advice where a value stands without quotes.
func (d *decoder) braces(n *yaml.Node) string {
	text := []rune(d.src.line(n.Line))
	if n.Column >= 1 && n.Column-1 <= len(text) && strings.HasPrefix(string(text[n.Column-1:]), "{{") {
		return `YAML reads "{{" as an object; put the whole text in quotes`
	}
	return ""
}
