package job

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Scope is where values come from.
type Scope struct {
	Config map[string]string
	Params map[string]string
	Node   *Node
	// Instant is the scheduled time, or when a run without one was asked for.
	Instant time.Time
	Task    TaskRef
	Run     RunID
	// Data are the values of steps.… and item, by their names with dots between: a run of an execution's step has those that its
	// job names.
	Data map[string]json.RawMessage
}

// value is that of a name: text, or of the data of a step whatever JSON can say.
func (s *Scope) value(n valueName) (any, bool) {
	if !n.data() {
		v, ok := s.lookup(n.text)
		return v, ok
	}
	raw, ok := s.Data[n.text]
	if !ok {
		return nil, false
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, false
	}
	return v, true
}

// lookup is the value of a name, and whether there is one.
func (s *Scope) lookup(name string) (string, bool) {
	root, rest, _ := strings.Cut(name, ".")
	switch root {
	case "config":
		v, ok := s.Config[rest]
		return v, ok
	case "params":
		v, ok := s.Params[rest]
		return v, ok
	case "node":
		if s.Node == nil {
			return "", false
		}
		if label, ok := strings.CutPrefix(rest, "labels."); ok {
			v, ok := s.Node.Labels[label]
			return v, ok
		}
		return string(s.Node.ID), s.Node.ID != ""
	case "task":
		if rest == "group" {
			return s.Task.Group, s.Task.Group != ""
		}
		return s.Task.Name, s.Task.Name != ""
	case "instant":
		return FormatInstant(s.Instant), !s.Instant.IsZero()
	case "run":
		return string(s.Run), s.Run != ""
	}
	return "", false
}

// env holds the values of the names for the expression that uses them.
func (s *Scope) env(names []valueName) (map[string]any, error) {
	env := map[string]any{"config": map[string]any{}, "params": map[string]any{}, "task": map[string]any{}}
	labels := map[string]any{}
	env["node"] = map[string]any{"labels": labels}
	env["steps"] = map[string]any{}
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b valueName) int { return cmp.Compare(len(a.path), len(b.path)) }) // a whole before its parts
	for _, n := range names {
		v, ok := s.value(n)
		if !ok {
			if n.optional {
				if n.data() {
					put(env, n.path, nil) // so that the way to it is there
				}
				continue
			}
			return nil, s.missing(n.text)
		}
		if n.data() {
			put(env, n.path, v)
			continue
		}
		root, rest, nested := strings.Cut(n.text, ".")
		if label, ok := strings.CutPrefix(n.text, "node.labels."); ok {
			labels[label] = v
		} else if nested {
			env[root].(map[string]any)[rest] = v
		} else {
			env[root] = v
		}
	}
	return env, nil
}

// put sets a value below the maps of a path. What stands there as a whole already has it.
func put(env map[string]any, path []string, v any) {
	for _, key := range path[:len(path)-1] {
		next, ok := env[key].(map[string]any)
		if !ok {
			if env[key] != nil {
				return
			}
			next = map[string]any{}
			env[key] = next
		}
		env = next
	}
	env[path[len(path)-1]] = v
}

// missing says that a name has no value, and which near one has.
func (s *Scope) missing(name string) error {
	var sort string
	var known map[string]string
	root, rest, _ := strings.Cut(name, ".")
	switch {
	case root == "item":
		return Errorf(CodeInvalid, "%s has no value here", name).WithHint("it is what a step with foreach runs for, and has the fields that its list gives it")
	case root == "steps":
		return Errorf(CodeInvalid, "%s has no value here", name).
			WithHint(`run the group (rota run group NAME), and see what the step handed back; or give a default: {{ %s ?? "text" }}`, name)
	case root == "config":
		sort, known = "configuration", s.Config
	case root == "params":
		sort, known = "parameter", s.Params
	case strings.HasPrefix(name, "node.labels.") && s.Node != nil:
		sort, known, rest = "label of node "+string(s.Node.ID), s.Node.Labels, strings.TrimPrefix(rest, "labels.")
	default:
		return Errorf(CodeInvalid, "%s has no value here", name)
	}
	e := Errorf(CodeInvalid, "there is no %s %q", sort, rest)
	e.Hint = didYouMean(rest, slices.Sorted(maps.Keys(known)))
	if e.Hint == "" {
		e.Hint = fmt.Sprintf(`set it, or give a default: {{ %s ?? "text" }}`, name)
	}
	return e
}

// Filled is what a job executes, with every value filled in.
type Filled struct {
	Argv  []string // empty only where Way says what runs instead
	Env   []string // KEY=VALUE, the job's own
	Stdin string
	Dir   string
	Way   *Way // nil: Argv, on this node
}

// Fill gives what the job executes. A command in the form of a list is executed as it is; a line goes through
// /bin/sh -c, with each value as one quoted word. Of the scope, what is left out is taken from the job: its configuration
// and its task. All names without a value are reported in one error.
func (j *Job) Fill(scope Scope) (Filled, error) {
	if scope.Config == nil {
		scope.Config = j.Config
	}
	if scope.Task == (TaskRef{}) {
		scope.Task = j.Ref()
	}
	var f Faults
	out := Filled{Argv: j.ResolveShell(), Env: slices.Clone(j.Envs)}
	command := "cmd"
	if j.HTTP != nil || j.Handler != "" {
		out.Argv = nil
	}
	script := shellScript(out.Argv)
	for i, arg := range out.Argv {
		if len(j.Argv) > 0 {
			command = fmt.Sprintf("argv[%d]", i)
		}
		out.Argv[i] = fillText(&f, command, arg, scope, i == script)
		noNUL(&f, command, out.Argv[i])
	}
	for i, e := range out.Env {
		key, value, _ := strings.Cut(e, "=")
		value = fillText(&f, "envs."+key, value, scope, false)
		noNUL(&f, "envs."+key, value)
		out.Env[i] = key + "=" + value
	}
	out.Stdin = fillText(&f, "stdin", j.Stdin, scope, false)
	out.Dir = fillText(&f, "dir", j.Dir, scope, false)
	noNUL(&f, "dir", out.Dir)
	out.Way = j.way(&f, scope)
	if out.Dir != "" && !path.IsAbs(out.Dir) && len(f.Fields) == 0 {
		f.Add("dir", "%q is not an absolute path", out.Dir)
	}
	return out, f.Err("the values of " + j.Ref().String() + " cannot be filled in")
}

func noNUL(f *Faults, path, s string) {
	if strings.IndexByte(s, 0) >= 0 {
		f.Add(path, "there is a NUL byte in it")
	}
}

func fillText(f *Faults, path, s string, scope Scope, shell bool) string {
	if !hasValues(s) {
		return s
	}
	t, err := ParseText(s)
	if err == nil && shell {
		s, err = t.FillShell(scope)
	} else if err == nil {
		s, err = t.Fill(scope)
	}
	var e *Error
	if err != nil {
		if errors.As(err, &e) && len(e.Fields) > 0 {
			for _, field := range e.Fields {
				f.Fields = append(f.Fields, FieldError{Path: path, Message: field.Message, Hint: field.Hint})
			}
			return ""
		}
		f.AddError(path, err)
		return ""
	}
	return s
}

// shellScript is the index of the argument that a shell is to run as its script (the text after -c), or -1.
// Such a script is a shell line wherever it stands.
func shellScript(argv []string) int {
	if len(argv) < 3 || !slices.Contains(shells, path.Base(argv[0])) {
		return -1
	}
	script := false
	i := 1
	for ; i < len(argv); i++ {
		a := argv[i]
		if a == "--" || a == "-" {
			i++
			break
		}
		if len(a) < 2 || (a[0] != '-' && a[0] != '+') {
			break
		}
		if strings.HasPrefix(a, "--") {
			continue
		}
		script = script || (a[0] == '-' && strings.Contains(a, "c"))
		if strings.ContainsAny(a, "oO") {
			i++
		}
	}
	if !script || i >= len(argv) {
		return -1
	}
	return i
}

var shells = []string{"sh", "bash", "dash", "ash", "ksh", "zsh", "mksh"}
