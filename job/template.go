package job

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Template is a part of tasks under a name: whatever a task may say but its group. A task that names it says the same,
// but for what it says itself.
type Template struct{ Task }

// DocumentName is the template's name.
func (t *Template) DocumentName() string { return t.Name }

// Valid reports every fault of the template in one error. What only a whole task can have wrong is not looked for.
func (t *Template) Valid() error {
	var f Faults
	t.check(&f, "")
	return f.Err("template " + t.Name + " is not valid")
}

func (t *Template) check(f *Faults, prefix string) {
	if t.Group != "" {
		f.AddHint(prefix+"group", "remove it", "a template is in no group")
	}
	if len(t.Templates) > 0 {
		f.AddHint(prefix+"template", "name both in the task", "a template has no templates of its own")
	}
	t.checkPart(f, prefix, "template")
}

// checkPart checks what is there of a task whose rest is elsewhere.
func (t *Task) checkPart(f *Faults, prefix, sort string) {
	whole := *t
	if len(whole.Args) > 0 && whole.Command.IsZero() {
		whole.Args = nil // it is for what the rest says
	}
	if !whole.hasWay() {
		whole.Command = Args("true")
	}
	for name, p := range whole.Params {
		if p.Required { // whether a timer gives it is known of the whole alone
			whole.Params = merged(whole.Params, map[string]Param{name: {Type: p.Type, Description: p.Description, Values: p.Values}})
		}
	}
	if whole.Mode == Cycle && whole.Timer == "" {
		whole.Mode = ""
	}
	whole.Templates = nil
	whole.Complete()
	var faults Faults
	whole.check(&faults, prefix)
	for _, fault := range faults.Fields {
		// Which parameters there are is known of the whole alone.
		if fault.Path == prefix+"params" && strings.HasPrefix(fault.Message, "{{") {
			continue
		}
		if fault.Path == prefix+"name" {
			fault.Message = strings.Replace(fault.Message, "task", sort, 1)
		}
		f.Fields = append(f.Fields, fault)
	}
}

func merged(base, over map[string]Param) map[string]Param {
	m := make(map[string]Param, len(base))
	for k, v := range base {
		m[k] = v
	}
	for k, v := range over {
		m[k] = v
	}
	return m
}

// ownFields are of a task alone; its templates have nothing to say on them.
var ownFields = []string{"Group", "Name", "Description", "Templates"}

// wayFields are the ways to run something, of which a task has one: its own, or else that of its templates.
var wayFields = []string{"Command", "HTTP", "Handler"}

// hasWay tells whether the task says what is to be run.
func (t *Task) hasWay() bool { return !t.Command.IsZero() || t.sets("HTTP") || t.sets("Handler") }

func (t *Task) sets(field string) bool {
	f := reflect.ValueOf(t).Elem().FieldByName(field)
	return f.IsValid() && !f.IsZero()
}

// Resolve gives the whole task: what its templates say, later ones over earlier ones, and over that what it says itself. Maps are merged by
// their keys; all else that is set takes the place of what was. Args of the task follow the command. The result is complete; it names its
// templates no more. find gives a template by its name; the error names those that there are not.
func (t *Task) Resolve(find func(name string) (*Template, bool)) (Task, error) {
	if len(t.Templates) == 0 {
		whole := *t
		whole.appendArgs()
		whole.Complete()
		return whole, nil
	}
	var whole Task
	var f Faults
	for i, name := range t.Templates {
		tmpl, ok := find(name)
		if !ok {
			f.AddHint(fmt.Sprintf("template[%d]", i), "apply it first, or together with the task", "there is no template %q", name)
			continue
		}
		overlay(&whole, &tmpl.Task)
	}
	if err := f.Err("task " + t.Ref().String() + " can't be made whole"); err != nil {
		return Task{}, err
	}
	overlay(&whole, t)
	whole.Group, whole.Name, whole.Description = t.Group, t.Name, t.Description
	if whole.Command.IsZero() && len(t.Args) == 0 {
		whole.Args = nil // those of a template's command, which is not this task's
	}
	whole.appendArgs()
	whole.Complete()
	return whole, nil
}

// overlay puts what over says in the place of what base says.
func overlay(base, over *Task) {
	b, o := reflect.ValueOf(base).Elem(), reflect.ValueOf(over).Elem()
	if over.hasWay() {
		without := wayFields
		if over.Command.IsZero() { // where a command runs over SSH is said apart from the command
			without = append([]string{"SSH"}, without...)
		}
		for _, name := range without {
			if f := b.FieldByName(name); f.IsValid() {
				f.SetZero()
			}
		}
	}
	for i := range b.NumField() {
		name := b.Type().Field(i).Name
		to, from := b.Field(i), o.Field(i)
		switch {
		case slices.Contains(ownFields, name) || from.IsZero():
		case name == "Args":
			base.Args = append(slices.Clone(base.Args), over.Args...)
		case from.Kind() == reflect.Map:
			m := reflect.MakeMap(from.Type())
			for _, part := range []reflect.Value{to, from} {
				for it := part.MapRange(); it.Next(); {
					m.SetMapIndex(it.Key(), it.Value())
				}
			}
			to.Set(m)
		default:
			to.Set(from)
		}
	}
}

// appendArgs puts the args behind the command: those of a shell line are its "$1" and so on.
func (t *Task) appendArgs() {
	if len(t.Args) == 0 || t.Command.IsZero() {
		return
	}
	argv := t.Command.Argv
	if len(argv) == 0 {
		argv = []string{"/bin/sh", "-c", t.Command.Line, "sh"}
	}
	t.Command = Args(slices.Concat(argv, t.Args)...)
	t.Args = nil
}
