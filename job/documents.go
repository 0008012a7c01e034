package job

import (
	"fmt"
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
}

// Len is how many they are.
func (d *Documents) Len() int {
	return len(d.Receivers) + len(d.Monitors) + len(d.Templates) + len(d.Groups) + len(d.Tasks)
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
