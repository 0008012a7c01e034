package job

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Bounds of a document's tree as it is walked, with every alias followed.
const (
	maxVisits = 100_000
	maxDepth  = 32
)

// decoder fills structs from a tree of YAML, strictly, by their json tags. It remembers where each value stands, and
// goes on after a fault, so that all are found.
type decoder struct {
	src    *source
	faults []FieldError
	values map[string]*yaml.Node // by path
	keys   map[string]*yaml.Node // of entries of maps and fields
	visits int
	depth  int
	over   bool // a bound is passed, and what follows is not looked at
}

func newDecoder(src *source) *decoder {
	return &decoder{src: src, values: map[string]*yaml.Node{}, keys: map[string]*yaml.Node{}}
}

// fail notes a fault of a node.
func (d *decoder) fail(n *yaml.Node, path, hint, format string, args ...any) {
	d.faults = append(d.faults, FieldError{
		File: d.src.file, Line: n.Line, Column: n.Column, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

func (d *decoder) decodeTask(t *Task, n *yaml.Node, path string) {
	if n = d.enter(n, path); n == nil {
		return
	}
	defer d.leave()
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "write name: and command: and what else it needs", "found %s, want a task", found(n))
		return
	}
	d.object(reflect.ValueOf(t).Elem(), n, path)
}

// enter follows an alias, notes where the value of a path stands and keeps the walk within its bounds. It returns nil
// where they are passed; otherwise leave must follow.
func (d *decoder) enter(n *yaml.Node, path string) *yaml.Node {
	at := n
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if d.visits++; d.visits > maxVisits || d.depth >= maxDepth {
		if !d.over {
			d.fail(at, path, "", "the document is too large or too deep, or its aliases stand for too much")
		}
		d.over = true
		return nil
	}
	d.depth++
	d.values[path] = n
	return n
}

func (d *decoder) leave() { d.depth-- }

var (
	commandType  = reflect.TypeFor[Command]()
	timerType    = reflect.TypeFor[Timer]()
	namesType    = reflect.TypeFor[Names]()
	refType      = reflect.TypeFor[TextOrSecret]()
	retryType    = reflect.TypeFor[Retry]()
	durationType = reflect.TypeFor[Duration]()
	statusesType = reflect.TypeFor[Statuses]()
	documentType = reflect.TypeFor[json.RawMessage]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// value decodes a node into v. An empty value of a field is one that was left out.
func (d *decoder) value(v reflect.Value, n *yaml.Node, path string) {
	if n = d.enter(n, path); n == nil {
		return
	}
	defer d.leave()
	switch v.Type() {
	case commandType:
		d.textOrList(n, path, "a list of words or a shell line", func(line string, list []string) {
			v.Set(reflect.ValueOf(Command{Line: line, Argv: list}))
		})
		return
	case timerType:
		d.textOrList(n, path, "a timer or a list of timers", func(line string, list []string) {
			v.SetString(line + strings.Join(list, "\n"))
		})
		return
	case namesType:
		d.textOrList(n, path, "a name or a list of names", func(name string, list []string) {
			if n.Kind == yaml.ScalarNode {
				list = []string{name}
			}
			v.Set(reflect.ValueOf(Names(list)))
		})
		return
	case statusesType:
		d.textOrList(n, path, "statuses, such as 200-299 or [200, 204]", func(line string, list []string) {
			v.SetString(line + strings.Join(list, ","))
		})
		return
	case documentType:
		if raw, err := json.Marshal(d.document(n, path)); err == nil { // a fault is noted otherwise
			v.SetBytes(raw)
		}
		return
	case refType:
		if n.Kind == yaml.ScalarNode {
			d.scalar(v.FieldByName("Text"), n, path)
			return
		}
	case retryType:
		if n.Kind == yaml.ScalarNode {
			d.scalar(v.FieldByName("Count"), n, path)
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(v.Elem(), n, path)
	case reflect.Struct:
		if n.Kind != yaml.MappingNode {
			d.fail(n, path, "", "found %s, want an object", found(n))
			return
		}
		d.object(v, n, path)
	case reflect.Map:
		d.table(v, n, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			hint := ""
			if n.Kind == yaml.ScalarNode {
				hint = "write [" + n.Value + "]"
			}
			d.fail(n, path, hint, "found %s, want a list", found(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.item(v.Index(i), item, fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		d.scalar(v, n, path)
	}
}

// item decodes what may not be left empty.
func (d *decoder) item(v reflect.Value, n *yaml.Node, path string) {
	if isNull(n) {
		d.fail(n, path, `write "" for an empty text`, "there is no value")
		return
	}
	d.value(v, n, path)
}

func (d *decoder) textOrList(n *yaml.Node, path, want string, set func(string, []string)) {
	var line string
	var list []string
	switch n.Kind {
	case yaml.ScalarNode:
		d.scalar(reflect.ValueOf(&line).Elem(), n, path)
	case yaml.SequenceNode:
		list = make([]string, len(n.Content))
		for i, item := range n.Content {
			d.item(reflect.ValueOf(&list[i]).Elem(), item, fmt.Sprintf("%s[%d]", path, i))
		}
		if len(list) == 0 {
			d.fail(n, path, "", "the list is empty")
		}
	default:
		d.fail(n, path, d.braces(n), "found %s, want %s", found(n), want)
		return
	}
	set(line, list)
}

// scalar decodes text, numbers and what reads itself from text.
func (d *decoder) scalar(v reflect.Value, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		want := "text"
		switch {
		case v.Type() == durationType:
			want = "a duration, such as 90s"
		case v.Kind() == reflect.Int, v.Kind() == reflect.Float64:
			want = "a number"
		}
		d.fail(n, path, d.braces(n), "found %s, want %s", found(n), want)
		return
	}
	if n.Tag == "!!binary" || (n.Style&yaml.TaggedStyle != 0 && !strings.HasPrefix(n.Tag, "!!")) {
		d.fail(n, path, "leave the tag out", "tag %s is not known", n.Tag)
		return
	}
	switch {
	case v.Type() == durationType:
		d.duration(v, n, path)
	case v.CanAddr() && v.Addr().Type().Implements(textType):
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
			d.fail(n, path, "", "%v", err)
		}
	case v.Kind() == reflect.String:
		v.SetString(n.Value) // of a number or a date, too, the text as it is written
	case v.Kind() == reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if err != nil || n.Tag != "!!int" || strconv.Itoa(i) != strings.TrimPrefix(n.Value, "+") {
			d.fail(n, path, "", "found %s, want a whole number", found(n))
			return
		}
		v.SetInt(int64(i))
	case v.Kind() == reflect.Bool:
		if n.Tag != "!!bool" {
			d.fail(n, path, "", "found %s, want true or false", found(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.Kind() == reflect.Float64:
		x, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || (n.Tag != "!!int" && n.Tag != "!!float") || math.IsInf(x, 0) || math.IsNaN(x) {
			d.fail(n, path, "", "found %s, want a number", found(n))
			return
		}
		v.SetFloat(x)
	default:
		d.fail(n, path, "", "nothing can be written here")
	}
}

func (d *decoder) duration(v reflect.Value, n *yaml.Node, path string) {
	if (n.Tag == "!!int" || n.Tag == "!!float") && n.Value != "0" {
		d.fail(n, path, fmt.Sprintf("write %ss for seconds, %sm for minutes", n.Value, n.Value), "%s has no unit", n.Value)
		return
	}
	parsed, err := ParseDuration(n.Value)
	if err != nil {
		f := Faults{}
		f.AddError(path, err)
		d.fail(n, path, f.Fields[0].Hint, "%s", f.Fields[0].Message)
		return
	}
	v.SetInt(int64(parsed))
}
