package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
