package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// DataSize is about how many bytes the lists and the results of an execution have.
func (e *GroupExecution) DataSize() (n int) {
	for i := range e.Steps {
		s := &e.Steps[i]
		for _, r := range s.Results {
			n += len(r)
		}
		for _, item := range s.Items {
			n += len(item)
		}
	}
	return n
}

// KeepResult keeps what a lane handed back, for the steps after it. What is too long is not kept; the step's notes say so.
func (e *GroupExecution) KeepResult(s *Step, lane int, raw json.RawMessage) {
	if len(raw) == 0 {
		return
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return
	}
	of := 0
	for _, r := range s.Results {
		of += len(r)
	}
	size, note := compact.Len(), ""
	switch {
	case size > MaxStepResult:
		note = fmt.Sprintf("a result of %d bytes is not handed on: at most %d are", size, MaxStepResult)
	case of+size > MaxStepResults:
		note = fmt.Sprintf("not all results are handed on: of one step at most %d bytes are", MaxStepResults)
	case e.DataSize()+size > MaxStepData:
		note = fmt.Sprintf("not all results are handed on: of one execution at most %d bytes are", MaxStepData)
	}
	if note != "" {
		s.AddNote(note)
		return
	}
	if s.Results == nil {
		s.Results = map[int]json.RawMessage{}
	}
	s.Results[lane] = compact.Bytes()
}

// maxNotes is how many notes a step has.
const maxNotes = 20

// AddNote notes something for people to see, once.
func (s *Step) AddNote(note string) {
	if len(s.Notes) < maxNotes && !slices.Contains(s.Notes, note) {
		s.Notes = append(s.Notes, note)
	}
}

// Data finds the values of names of steps; those that have none are left out. An error says what a person must know of one that is
// used otherwise than it can be.
func (e *GroupExecution) Data(names [][]string) (map[string]json.RawMessage, error) {
	values := map[string]json.RawMessage{}
	for _, path := range names {
		if path[0] != "steps" {
			continue
		}
		raw, err := e.stepValue(path)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			values[strings.Join(path, ".")] = raw
		}
	}
	return values, nil
}

func (e *GroupExecution) stepValue(path []string) (json.RawMessage, error) {
	s := e.Step(path[1])
	if s == nil {
		return nil, Errorf(CodeInvalid, "there is no step %q in this execution", path[1])
	}
	switch path[2] {
	case "outcome":
		if !s.State.Ended() {
			return nil, nil
		}
		return json.Marshal(s.State)
	case "results":
		list := make([]json.RawMessage, len(s.Lanes))
		for lane := range list {
			if list[lane] = s.Results[lane]; list[lane] == nil {
				list[lane] = json.RawMessage("null")
			}
		}
		raw, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		return within(raw, path[3:]), nil
	}
	if len(s.Lanes) > 1 {
		return nil, Errorf(CodeInvalid, "%s: step %s has %d runs, each with a result of its own", strings.Join(path, "."), s.Name, len(s.Lanes)).
			WithHint("use steps.%s.results, the list of them", s.Name)
	}
	return within(s.Results[0], path[3:]), nil
}

// ItemData finds the values of names of an item.
func ItemData(names [][]string, item json.RawMessage, values map[string]json.RawMessage) {
	for _, path := range names {
		if path[0] == "item" {
			if raw := within(item, path[1:]); raw != nil {
				values[strings.Join(path, ".")] = raw
			}
		}
	}
}

// within is what stands below some words in an object, or nil.
func within(raw json.RawMessage, path []string) json.RawMessage {
	for _, key := range path {
		var object map[string]json.RawMessage
		if len(raw) == 0 || json.Unmarshal(raw, &object) != nil {
			return nil
		}
		raw = object[key]
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	return raw
}

// Handles tells whether the step asks how steps before it ended: then it begins when they have, however that was.
func (s *Step) Handles() bool {
	if s.When == "" {
		return false
	}
	x, err := ParseExpression(s.When)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(x.Names(), func(path []string) bool {
		return len(path) > 2 && path[0] == "steps" && path[2] == "outcome"
	})
}
