package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/rota-dev/rota/schedule"
)

// Bounds of what one expression may cost. There are no loops and no names of its own, and each function that
// can make a text longer stops at maxValue, so that the time and the memory are bounded by these.
const (
	maxExpression = 2 << 10   // bytes of source
	maxTreeNodes  = 200       // of its tree
	maxValue      = 128 << 10 // bytes of one value
	maxFilled     = 1 << 20   // bytes of a template with its values
)

// expressionFunctions are the functions of expr that an expression may call as they are. They do no I/O, know no clock
// and don't loop. See functions for those that are Rota's own.
var expressionFunctions = []string{
	"len", "trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "indexOf", "lastIndexOf", "hasPrefix", "hasSuffix",
	"int", "float", "string", "abs", "ceil", "floor", "round", "max", "min", "first", "last", "duration",
}

// functions are Rota's own.
var functions = map[string]func(...any) (any, error){
	"replace": func(a ...any) (any, error) {
		s, err := texts(a, 3)
		if err != nil {
			return nil, err
		}
		if n := strings.Count(s[0], s[1]); n*len(s[2]) > maxValue {
			return nil, errLong
		}
		return strings.ReplaceAll(s[0], s[1], s[2]), nil
	},
	"join": func(a ...any) (any, error) {
		if len(a) == 0 || len(a) > 2 {
			return nil, errors.New("want a list and what to put between")
		}
		list, err := textList(a[0])
		if err != nil {
			return nil, err
		}
		between := ""
		if len(a) == 2 {
			s, err := texts(a[1:], 1)
			if err != nil {
				return nil, err
			}
			between = s[0]
		}
		if len(list)*len(between) > maxValue {
			return nil, errLong
		}
		return strings.Join(list, between), nil
	},
	"toJSON": func(a ...any) (any, error) {
		if len(a) != 1 {
			return nil, errors.New("want one value")
		}
		if s, ok := a[0].(string); ok && len(s) > maxValue {
			return nil, errLong
		}
		b, err := json.Marshal(a[0])
		return string(b), err
	},
	"date": func(a ...any) (any, error) {
		s, err := texts(a, 1)
		if err != nil {
			return nil, err
		}
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if t, err := time.Parse(layout, s[0]); err == nil {
				return t, nil
			}
		}
		return nil, fmt.Errorf("%.40q is no date, such as 2026-12-01, and no time, such as 2026-12-01T10:00:00Z", s[0])
	},
	"timezone": func(a ...any) (any, error) {
		s, err := texts(a, 1)
		if err != nil {
			return nil, err
		}
		return schedule.LoadLocation(s[0])
	},
}

// dateMethods are the methods that an expression may call, on what date gives.
var dateMethods = []string{"Format", "AddDate", "Add", "In", "UTC", "Unix", "Year", "Day", "YearDay", "Hour", "Minute", "Second"}

var errLong = fmt.Errorf("the value would have more than %d bytes", maxValue)

func texts(args []any, n int) ([]string, error) {
	if len(args) != n {
		return nil, fmt.Errorf("want %d arguments, found %d", n, len(args))
	}
	list := make([]string, n)
	for i, a := range args {
		s, ok := a.(string)
		if !ok {
			return nil, fmt.Errorf("argument %d: want text, found %v", i+1, a)
		}
		list[i] = s
	}
	return list, nil
}

func textList(v any) ([]string, error) {
	switch v := v.(type) {
	case []string:
		return v, nil
	case []any:
		return texts(v, len(v))
	}
	return nil, fmt.Errorf("want a list of texts, found %v", v)
}

// functionNames are all functions that an expression may call.
func functionNames() []string {
	names := slices.Clone(expressionFunctions)
	for n := range functions {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// options are those of the compiler.
func options() []expr.Option {
	object := types.TypeOf(map[string]any{})
	env := types.Map{
		"config": object, "params": object, "task": object, "node": object, "steps": object, "item": types.Any, "instant": types.String, "run": types.String,
	}
	list := []expr.Option{expr.Env(env), expr.DisableAllBuiltins(), expr.MaxNodes(maxTreeNodes)}
	for _, n := range expressionFunctions {
		list = append(list, expr.EnableBuiltin(n))
	}
	for n, f := range functions {
		list = append(list, expr.Function(n, f))
	}
	return list
}

// parseExpression reads one expression, which begins at off in its template.
func parseExpression(src string, off int) (part, []FieldError) {
	p := part{text: src}
	fail := func(at int, hint, format string, args ...any) (part, []FieldError) {
		return p, []FieldError{{Message: fmt.Sprintf(format, args...), Hint: hint, at: place{off: off + at}}}
	}
	if len(src) > maxExpression {
		return fail(0, "", "the expression has %d bytes, at most %d are allowed", len(src), maxExpression)
	}
	body := strings.TrimSpace(src)
	if body == "" {
		return fail(0, escapeHint, "there is no name between the braces")
	}
	if strings.HasPrefix(body, ".") {
		return fail(0, `if it is meant for another program, write {{ "{{" }} for its "{{"`, "a value begins with a name, not with a dot")
	}
	// The tree is checked as it is written, before the compiler changes it.
	config := conf.CreateNew()
	config.MaxNodes = maxTreeNodes
	tree, err := parser.ParseWithConfig(src, config)
	if err != nil {
		at, message := exprError(src, err)
		return fail(at, "", "{{%s}} cannot be read: %s", src, message)
	}
	c := nodeChecker{src: src, off: off}
	c.check(tree.Node, false)
	if len(c.faults) > 0 {
		return p, c.faults
	}
	if s, ok := tree.Node.(*ast.StringNode); ok {
		p.text = s.Value // no value, but text: how "{{" itself is written
		return p, nil
	}
	p.value, p.names = true, c.names
	if path, root := flatten(tree.Node); root != nil && !slices.Contains(path, "") {
		return p, nil // a name alone needs no program
	}
	program, err := expr.Compile(src, options()...)
	if err != nil {
		at, message := exprError(src, err)
		return fail(at, "", "{{%s}} cannot be read: %s", src, message)
	}
	p.program = program
	return p, nil
}

// exprError is where, in bytes, and what expr complains of.
func exprError(src string, err error) (int, string) {
	var e *file.Error
	if errors.As(err, &e) {
		return byteOffset(src, e.From), e.Message
	}
	return 0, err.Error()
}

// byteOffset is the offset in bytes of a character.
func byteOffset(s string, char int) int {
	for i := range s {
		if char == 0 {
			return i
		}
		char--
	}
	return len(s)
}

// valueIn is what the expression gives.
func (p part) valueIn(scope Scope) (any, error) {
	if p.program == nil {
		v, ok := scope.value(p.names[0])
		if !ok {
			return nil, scope.missing(p.names[0].text)
		}
		return v, nil
	}
	env, err := scope.env(p.names)
	if err != nil {
		return nil, err
	}
	v, err := vm.Run(p.program, env)
	if err != nil {
		_, message := exprError(p.text, err)
		return nil, Errorf(CodeInvalid, "%s", message)
	}
	return v, nil
}

// eval is the expression's value as text.
func (p part) eval(scope Scope) (text string, err error) {
	v, err := p.valueIn(scope)
	if err != nil {
		return "", err
	}
	text, err = valueText(v)
	if err == nil && len(text) > maxValue {
		err = errLong
	}
	return text, err
}

func valueText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case time.Time:
		return v.Format(time.RFC3339), nil
	case time.Duration:
		return v.String(), nil
	case nil:
		return "", Errorf(CodeInvalid, "it has no value").WithHint(`give a default: {{ NAME ?? "text" }}`)
	}
	return "", Errorf(CodeInvalid, "it gives a list or an object, want text").WithHint("use join or toJSON")
}
