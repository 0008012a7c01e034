package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Param declares a parameter of a task: {{ params.NAME }}. A task that declares any is given no others.
type Param struct {
	Type        ParamType `json:"type,omitempty"` // default: string
	Description string    `json:"description,omitempty"`
	// Default is the value where none is given; nil: there is none.
	Default  *string  `json:"default,omitempty"`
	Required bool     `json:"required,omitempty"` // a run without a value is refused
	Values   []string `json:"values,omitempty"`   // the only ones that are allowed; empty: all of the type
}

// ParamType says what a parameter's value must look like. It reaches the run as the text that was given.
type ParamType string

// The types.
const (
	ParamString   ParamType = "string"
	ParamInt      ParamType = "int"
	ParamNumber   ParamType = "number"
	ParamBool     ParamType = "bool"     // true or false
	ParamDuration ParamType = "duration" // such as 90s
)

var paramTypes = []ParamType{ParamString, ParamInt, ParamNumber, ParamBool, ParamDuration}

// maxParams is how many parameters a task may declare.
const maxParams = 100

// fault says what is wrong with a value, and how to mend it; empty where nothing is.
func (p *Param) fault(value string) (message, hint string) {
	want := ""
	switch p.Type {
	case ParamInt:
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			want = "a whole number"
		}
	case ParamNumber:
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			want = "a number"
		}
	case ParamBool:
		if value != "true" && value != "false" {
			want = "true or false"
		}
	case ParamDuration:
		if _, err := ParseDuration(value); err != nil {
			want = "a duration, such as 90s"
		}
	}
	switch {
	case want != "":
		return fmt.Sprintf("found %q, want %s", clip(value), want), ""
	case len(p.Values) > 0 && !slices.Contains(p.Values, value):
		return fmt.Sprintf("%q is not one of its values", clip(value)), "the values are " + strings.Join(p.Values, ", ")
	case strings.IndexByte(value, 0) >= 0:
		return "there is a NUL byte in it", ""
	}
	return "", ""
}

// Arguments are the values of a run's parameters: what was given, checked against what the task declares, and the defaults of
// the rest. All faults are reported in one error. A task that declares none takes what it is given.
func Arguments(declared map[string]Param, given map[string]string) (map[string]string, error) {
	if len(declared) == 0 {
		return given, nil
	}
	var f Faults
	known := slices.Sorted(maps.Keys(declared))
	values := make(map[string]string, len(declared))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		p, ok := declared[name]
		if !ok {
			hint := didYouMean(name, known)
			if hint == "" {
				hint = "its parameters are " + strings.Join(known, ", ")
			}
			f.AddHint("params."+name, hint, "the task has no parameter %q", name)
			continue
		}
		if message, hint := p.fault(given[name]); message != "" {
			f.AddHint("params."+name, hint, "parameter %s: %s", name, message)
			continue
		}
		values[name] = given[name]
	}
	for _, name := range known {
		_, have := given[name]
		switch p := declared[name]; {
		case have:
		case p.Default != nil:
			values[name] = *p.Default
		case p.Required:
			f.AddHint("params."+name, "give it with --set "+name+"=VALUE", "parameter %s is required", name)
		}
	}
	if err := f.Err("the parameters are not right"); err != nil {
		return nil, err
	}
	return values, nil
}

// defaultParams are the values of the parameters that have a default.
func (t *Task) defaultParams() map[string]string {
	var values map[string]string
	for name, p := range t.Params {
		if p.Default == nil {
			continue
		}
		if values == nil {
			values = map[string]string{}
		}
		values[name] = *p.Default
	}
	return values
}

// checkParams checks what a task declares, and that its values name nothing else.
func (t *Task) checkParams(f *Faults, prefix string) {
	if len(t.Params) > maxParams {
		f.Add(prefix+"params", "there are %d parameters, at most %d are allowed", len(t.Params), maxParams)
		return
	}
	known := slices.Sorted(maps.Keys(t.Params))
	for _, name := range known {
		p, at := t.Params[name], prefix+"params"+entry(name)
		if !validEnvName(name) {
			f.addKey(at, "use letters, digits and '_', and begin with none of the digits", "%q is no name of a parameter", name)
		}
		checkText(f, at+".description", p.Description, maxDescription)
		before := len(f.Fields)
		if p.Type != "" {
			checkEnum(f, at+".type", p.Type, paramTypes)
		}
		if len(f.Fields) > before {
			continue
		}
		for i, v := range p.Values {
			alone := p
			alone.Values = nil
			if message, _ := alone.fault(v); message != "" {
				f.Add(fmt.Sprintf("%s.values[%d]", at, i), "%s", message)
			}
		}
		if p.Default != nil {
			if message, hint := p.fault(*p.Default); message != "" {
				f.AddHint(at+".default", hint, "%s", message)
			}
			if p.Required {
				f.AddHint(at+".required", "remove one of the two", "a parameter with a default is never missing")
			}
		} else if p.Required && t.Mode == Cycle {
			f.AddHint(at+".required", "give it a default", "a timer gives no values, so that no firing could start")
		}
	}
	if len(known) == 0 {
		return
	}
	named := map[string]bool{}
	t.valueTexts(func(s string) {
		if v, err := ParseText(s); err == nil && hasValues(s) {
			for _, n := range v.Names() {
				if name, ok := strings.CutPrefix(n, "params."); ok {
					named[name] = true
				}
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if _, ok := t.Params[name]; !ok {
			hint := didYouMean(name, known)
			if hint == "" {
				hint = "declare it under params"
			}
			f.AddHint(prefix+"params", hint, "{{ params.%s }} is used, but the task declares no such parameter", name)
		}
	}
}
