package job

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// What a result says of its run, in its exec_status.
const (
	ExecSuccess = "Success"
	ExecFailure = "Failure"
)

// ReadResult reads what a run handed back. unknown are the fields that bring nothing about, sorted; it is no error to have some.
func ReadResult(raw json.RawMessage) (res *Result, unknown []string, err error) {
	if err := json.Unmarshal(raw, &res); err != nil {
		return nil, nil, err
	}
	if res == nil {
		return nil, nil, fmt.Errorf("it is null")
	}
	var whole struct {
		Conditions []map[string]json.RawMessage `json:"conditions"`
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, nil, err
	}
	unknown = fieldsBut(reflect.TypeFor[Result](), fields)
	for _, c := range whole.Conditions {
		for _, name := range fieldsBut(reflect.TypeFor[Condition](), c) {
			if name = "conditions." + name; !slices.Contains(unknown, name) {
				unknown = append(unknown, name)
			}
		}
	}
	slices.Sort(unknown)
	return res, unknown, nil
}

// fieldsBut are the names that are no field of a type, as encoding/json compares them.
func fieldsBut(of reflect.Type, have map[string]json.RawMessage) (unknown []string) {
	for _, name := range slices.Sorted(maps.Keys(have)) {
		known := false
		for i := range of.NumField() {
			tag, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			known = known || strings.EqualFold(tag, name)
		}
		if !known {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// Judge decides by the result how an execution ended, where the task wants that. What was ended from outside, by its timeout, a kill
// or a signal, stays what it is; so does what never began.
func (by SuccessBy) Judge(x *Exit) {
	ran := x.Outcome == Success || x.Outcome == Failed && x.EndedBy == EndedByExit
	if by != SuccessResult || !ran {
		return
	}
	before := x.Reason
	fail := func(format string, args ...any) {
		x.Outcome, x.Reason = Failed, fmt.Sprintf(format, args...)
		if before != "" {
			x.Reason = before + "; " + x.Reason
		}
	}
	switch {
	case x.ResultError != "":
		fail("its result can't be read: %s", x.ResultError)
		return
	case len(x.Result) == 0:
		fail("it handed back no result, which says whether it succeeded")
		return
	}
	res, _, err := ReadResult(x.Result)
	switch {
	case err != nil:
		fail("its result is not of the known form: %v", err)
	case strings.EqualFold(res.ExecStatus, ExecSuccess):
		x.Outcome, x.Reason = Success, ""
	case strings.EqualFold(res.ExecStatus, ExecFailure):
		fail("its result says exec_status %s", ExecFailure)
	case res.ExecStatus == "":
		fail("its result has no exec_status; want %s or %s", ExecSuccess, ExecFailure)
	default:
		fail("its result says exec_status %.40q; want %s or %s", res.ExecStatus, ExecSuccess, ExecFailure)
	}
}
