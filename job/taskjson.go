package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parseJSON gives the tree of a JSON document in the form of YAML's, so that one decoder serves both.
// Its fault has no file.
func parseJSON(data []byte) (*yaml.Node, *FieldError) {
	p := jsonParser{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	root, err := p.value(0)
	if err == nil {
		if _, extra := p.dec.Token(); !errors.Is(extra, io.EOF) {
			p.start = p.skip(p.dec.InputOffset())
			err = errors.New("something follows the end of the document")
		}
	}
	if err == nil {
		return root, nil
	}
	at := p.start
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = max(int(syntax.Offset)-1, 0)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		at, err = len(data), errors.New("it ends in the middle")
		if len(bytes.TrimSpace(data)) == 0 {
			err = errors.New("it is empty")
		}
	}
	f := &FieldError{Message: "JSON: " + err.Error()}
	f.Line, f.Column = lineColumn(data, at)
	return nil, f
}

type jsonParser struct {
	data  []byte
	dec   *json.Decoder
	start int                             // where the present token begins
	at    struct{ off, line, column int } // the latest node, so that nothing is counted twice
}

// skip is where the token after an offset begins.
func (p *jsonParser) skip(off int64) int {
	for int(off) < len(p.data) && strings.IndexByte(" \t\r\n,:", p.data[off]) >= 0 {
		off++
	}
	return int(off)
}

func (p *jsonParser) node(kind yaml.Kind, tag, value string) *yaml.Node {
	for ; p.at.off < p.start; p.at.off++ {
		switch c := p.data[p.at.off]; {
		case c == '\n':
			p.at.line, p.at.column = p.at.line+1, 0
		case utf8.RuneStart(c):
			p.at.column++
		}
	}
	return &yaml.Node{Kind: kind, Tag: tag, Value: value, Line: 1 + p.at.line, Column: 1 + p.at.column}
}

func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	p.start = p.skip(p.dec.InputOffset())
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	}
	switch t := token.(type) {
	case json.Delim:
		n := p.node(yaml.MappingNode, "!!map", "")
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for p.dec.More() {
			child, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := p.dec.Token()
		return n, err
	case string:
		n := p.node(yaml.ScalarNode, "!!str", t)
		n.Style = yaml.DoubleQuotedStyle
		return n, nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(t.String(), ".eE") {
			tag = "!!float"
		}
		return p.node(yaml.ScalarNode, tag, t.String()), nil
	case bool:
		return p.node(yaml.ScalarNode, "!!bool", fmt.Sprint(t)), nil
	}
	return p.node(yaml.ScalarNode, "!!null", "null"), nil
}

// DecodeDocuments decodes JSON that a program wrote: a list of tasks, a task, or an object with lists under the names of what they hold, as
// [Documents] has them. It is as strict as [ReadDocuments], but takes as many as there are, each of [MaxTaskFile] bytes at most. The
// paths of faults begin with the place in the lists, such as "tasks[3]"; they have no lines.
func DecodeDocuments(data []byte) (Documents, error) {
	r := &fileReader{unplaced: true}
	r.decode(data)
	r.finish()
	for i := range r.faults {
		r.faults[i].Line, r.faults[i].Column = 0, 0
	}
	f := Faults{Fields: r.faults}
	if err := f.Err("the documents are not valid"); err != nil {
		return Documents{}, err
	}
	return r.docs, nil
}

func (r *fileReader) decode(data []byte) {
	if head := bytes.TrimLeft(data, " \t\r\n"); len(head) > 0 && head[0] == '[' {
		r.decodeList(data, "", "tasks")
		return
	}
	fields, err := jsonFields(data)
	if err != nil {
		r.faults = append(r.faults, FieldError{
			Message: "it is neither a list of tasks nor an object with lists: " + err.Error(), Hint: "send such JSON, or the text of a task file as application/yaml",
		})
		return
	}
	if !slices.ContainsFunc(fields, func(f jsonField) bool { return sections[f.key] != nil }) {
		r.decodeItem(data, "", "tasks")
		return
	}
	seen := map[string]bool{}
	for _, f := range fields {
		switch {
		case seen[f.key]:
			r.faults = append(r.faults, FieldError{Path: f.key, Message: "it stands here a second time"})
		case sections[f.key] != nil:
			r.decodeList(f.value, f.key, f.key)
		case !strings.HasPrefix(f.key, "x-"):
			r.faults = append(r.faults, FieldError{Path: f.key, Message: fmt.Sprintf("unknown field %q", f.key), Hint: "want " + strings.Join(sectionNames(), ", ")})
		}
		seen[f.key] = true
	}
}

// decodeList reads the items of a list one by one, so that the trees of all of them never stand in memory together.
func (r *fileReader) decodeList(data []byte, path, section string) {
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		message := "JSON: " + err.Error()
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			message = "found " + wrong.Value + ", want a list"
		}
		r.faults = append(r.faults, FieldError{Path: path, Message: message})
		return
	}
	for i, item := range items {
		if len(r.faults) >= maxFaults {
			return
		}
		r.decodeItem(item, fmt.Sprintf("%s[%d]", path, i), section)
	}
}

func (r *fileReader) decodeItem(data []byte, path, section string) {
	src := &source{data: data}
	f, bad := src.unreadable()
	if bad {
		f.Path = path
		r.faults = append(r.faults, f)
		return
	}
	root, fault := parseJSON(data)
	if fault != nil {
		fault.Path = path
		r.faults = append(r.faults, *fault)
		return
	}
	sections[section](r, newDecoder(src), root, path)
}

// jsonField is one of an object, as it stands there.
type jsonField struct {
	key   string
	value json.RawMessage
}

// jsonFields are those of an object, in their order, also where one stands there twice.
func jsonFields(data []byte) (fields []jsonField, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("it begins with neither [ nor {")
		}
		return nil, err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		f := jsonField{key: fmt.Sprint(key)}
		if err := dec.Decode(&f.value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, extra := dec.Token(); !errors.Is(extra, io.EOF) {
		return nil, errors.New("something follows its end")
	}
	return fields, nil
}
