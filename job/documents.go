package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Documents are what task files hold, and what is applied together.
type Documents struct {
	Receivers []Receiver `json:"receivers,omitempty"`
	Templates []Template `json:"templates,omitempty"`
	Groups    []Group    `json:"groups,omitempty"`
	Tasks     []Task     `json:"tasks"`
	Monitors  []Monitor  `json:"monitors,omitempty"`

	places map[string]written // where they were written, by their place here, such as tasks[3]; one that was read alone: ""
}

// written is where a document was written.
type written struct {
	d    *decoder
	path string
}

// Locate gives what a server finds wrong with the documents the file, line and column at which that was written. An error without fields, or of
// documents that were not read from a file, stays as it is.
func (d *Documents) Locate(err error) error {
	var e *Error
	if !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	located := *e
	located.Fields = slices.Clone(e.Fields)
	for i, f := range located.Fields {
		at, rest, _ := strings.Cut(f.Path, "]")
		w, ok := d.places[at+"]"]
		if !ok {
			w, ok = d.places[""]
			rest = f.Path
		}
		if !ok || f.Line > 0 {
			continue
		}
		place := w.d.locate(FieldError{Path: strings.TrimPrefix(w.path+rest, ".")})
		f.File, f.Line, f.Column = place.File, place.Line, place.Column
		located.Fields[i] = f
	}
	return &located
}

// size is how many there are of a section.
func (d *Documents) size(section string) int {
	return map[string]int{
		"receivers": len(d.Receivers), "templates": len(d.Templates), "groups": len(d.Groups), "tasks": len(d.Tasks), "monitors": len(d.Monitors),
	}[section]
}

// Len is how many they are.
func (d *Documents) Len() int {
	return len(d.Receivers) + len(d.Monitors) + len(d.Templates) + len(d.Groups) + len(d.Tasks)
}

// What names each of them: "template base", "task default/backup".
func (d *Documents) What() (names []string) {
	for i := range d.Receivers {
		names = append(names, "receiver "+d.Receivers[i].Name)
	}
	for i := range d.Templates {
		names = append(names, "template "+d.Templates[i].Name)
	}
	for i := range d.Groups {
		names = append(names, "group "+d.Groups[i].Name)
	}
	for i := range d.Tasks {
		names = append(names, "task "+d.Tasks[i].Ref().String())
	}
	for i := range d.Monitors {
		names = append(names, "monitor "+d.Monitors[i].Name)
	}
	return names
}

// String counts them for a person: "2 templates, 5 tasks".
func (d *Documents) String() string {
	var words []string
	for _, n := range [...]struct {
		count int
		word  string
	}{{len(d.Receivers), "receiver"}, {len(d.Templates), "template"}, {len(d.Groups), "group"}, {len(d.Tasks), "task"}, {len(d.Monitors), "monitor"}} {
		switch {
		case n.count == 1:
			words = append(words, "1 "+n.word)
		case n.count > 1:
			words = append(words, fmt.Sprintf("%d %ss", n.count, n.word))
		}
	}
	if len(words) == 0 {
		return "0 tasks"
	}
	return strings.Join(words, ", ")
}

// Document is what a person writes under a name of its own, and what is kept as it was written.
type Document interface {
	DocumentName() string
	Valid() error
}

// Entry is a document as it is kept.
type Entry[T any] struct {
	Document   T         `json:"document"`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	Generation int64     `json:"generation"` // counts the edits, from 1
	// Revision is the store's, of the version that was read; edits compare-and-swap on it.
	Revision int64 `json:"revision,omitempty"`
}
