package job

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Expression is one expression that is no part of a text: a step's when, or its foreach. It may be written with or without
// the braces. It is immutable.
type Expression struct {
	source string
	part   part
}

// ParseExpression reads an expression over the names of [Text]. Its error is an [Error] of [CodeInvalid] whose Fields have the
// line and the column in the text.
func ParseExpression(s string) (*Expression, error) {
	x, faults := readExpression(s)
	if len(faults) > 0 {
		f := Faults{Fields: located(s, faults)}
		return nil, f.Err("the expression cannot be read")
	}
	return x, nil
}

func readExpression(s string) (*Expression, []FieldError) {
	body, off := s, 0
	if trimmed := strings.TrimSpace(s); strings.HasPrefix(trimmed, "{{") {
		inner := strings.Index(s, "{{") + len("{{")
		size, closed := closing(s[inner:])
		switch {
		case !closed:
			return nil, []FieldError{{Message: `"{{" is not closed by "}}"`, at: place{off: inner - 2}}}
		case strings.TrimSpace(s[inner+size+len("}}"):]) != "":
			return nil, []FieldError{{
				Message: `something follows the "}}"`, Hint: "write one expression, with and, or, +", at: place{off: inner + size + len("}}")},
			}}
		}
		body, off = s[inner:inner+size], inner
	}
	p, faults := parseExpression(body, off)
	return &Expression{source: s, part: p}, faults
}

// Names are the words of the names that the expression uses, such as [steps load outcome].
func (x *Expression) Names() [][]string { return paths(x.part.names) }

func paths(names []valueName) [][]string {
	var list [][]string
	for _, n := range names {
		list = append(list, n.path)
	}
	return list
}

func (x *Expression) eval(scope Scope) (any, error) {
	if !x.part.value {
		return x.part.text, nil
	}
	v, err := x.part.valueIn(scope)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.TrimSpace(x.source), err)
	}
	return v, nil
}

// True tells whether the expression holds. It must give true or false, also as text.
func (x *Expression) True(scope Scope) (bool, error) {
	v, err := x.eval(scope)
	if err != nil {
		return false, err
	}
	switch v {
	case true, "true":
		return true, nil
	case false, "false":
		return false, nil
	}
	return false, Errorf(CodeInvalid, "%s: it gives %s, want true or false", strings.TrimSpace(x.source), clip(jsonText(v)))
}

// List is the list that the expression gives, each item as JSON.
func (x *Expression) List(scope Scope) ([]json.RawMessage, error) {
	v, err := x.eval(scope)
	if err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if raw, err := json.Marshal(v); err != nil || json.Unmarshal(raw, &items) != nil || v == nil {
		return nil, Errorf(CodeInvalid, "%s: it gives %s, want a list", strings.TrimSpace(x.source), clip(jsonText(v))).
			WithHint(`of text make one with split(TEXT, ",")`)
	}
	return items, nil
}

func jsonText(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// checkExpression checks what stands alone as an expression.
func checkExpression(f *Faults, path, s string) *Expression {
	x, faults := readExpression(s)
	for _, e := range faults {
		e.Path = path
		f.Fields = append(f.Fields, e)
	}
	if len(faults) > 0 {
		return nil
	}
	return x
}
