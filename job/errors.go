package job

import (
	"errors"
	"fmt"
	"strings"
)

// Code says what sort of error it is. The API maps it to a status and the client maps
// the status's problem document back to it, so that a program meets the same
// code on both sides of the wire.
type Code string

// The codes.
const (
	CodeInvalid      Code = "invalid"      // the input is wrong; Fields say where
	CodeNotFound     Code = "not_found"    // what was named does not exist
	CodeConflict     Code = "conflict"     // it changed since it was read, or exists already
	CodeUnauthorized Code = "unauthorized" // no valid credentials
	CodeForbidden    Code = "forbidden"    // credentials that do not suffice
	CodeUnavailable  Code = "unavailable"  // a part that is needed is away; try again
	CodeExhausted    Code = "exhausted"    // a limit is reached
	CodeInternal     Code = "internal"     // a fault of Rota's own
)

// Error is an error with a code, made for a person: what, where, why, and in Hint
// how to mend it.
type Error struct {
	Code    Code
	Message string
	Hint    string
	Fields  []FieldError

	cause error
}

// FieldError is one fault in a document.
type FieldError struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`   // from 1; 0 where unknown
	Column  int    `json:"column,omitempty"` // from 1, in characters; 0 where unknown
	Path    string `json:"path,omitempty"`   // such as tasks[2].timer
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	at place
}

// place says where within the value at its path a fault is. The reader of a file turns it into a line
// and a column; in what leaves the package it is zero.
type place struct {
	key  bool // the fault is in the key of the entry, not in its value
	off  int  // bytes from the beginning of the text
	item int  // where the text is a line of several: bytes from the beginning of that line
}

func (f FieldError) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		b.WriteByte(':')
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:", f.Line)
		if f.Column > 0 {
			fmt.Fprintf(&b, "%d:", f.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if f.Path != "" {
		b.WriteString(f.Path)
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString("; ")
		b.WriteString(f.Hint)
	}
	return b.String()
}

// Error lists the message, the hint and every field, a line each.
func (e *Error) Error() string {
	var lines []string
	head := e.Message
	if e.Hint != "" {
		head += "; " + e.Hint
	}
	if head != "" {
		lines = append(lines, head)
	}
	for _, f := range e.Fields {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

func (e *Error) Unwrap() error { return e.cause }

// Errorf makes an error of a code. A %w in the format becomes the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// WithHint returns the error with advice on how to mend it.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// CodeOf returns the code of the first [Error] in err's chain, [CodeInternal] for other
// errors and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// IsNotFound tells whether err says that a thing does not exist.
func IsNotFound(err error) bool { return CodeOf(err) == CodeNotFound }

// IsConflict tells whether err says that a thing changed since it was read.
func IsConflict(err error) bool { return CodeOf(err) == CodeConflict }

// Faults collects the errors of one document, so that all of them are reported at once.
type Faults struct{ Fields []FieldError }

// Add notes a fault at a path.
func (f *Faults) Add(path, format string, args ...any) {
	f.Fields = append(f.Fields, FieldError{Path: path, Message: fmt.Sprintf(format, args...)})
}

// AddHint notes a fault with advice.
func (f *Faults) AddHint(path, hint, format string, args ...any) {
	f.Fields = append(f.Fields, FieldError{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// AddError notes an error as a fault, an [Error]'s hint as its advice. The fields of an error, those of a
// part of the document, become faults below the path.
func (f *Faults) AddError(path string, err error) {
	var e *Error
	if !errors.As(err, &e) {
		f.Add(path, "%v", err)
		return
	}
	if len(e.Fields) == 0 {
		f.Fields = append(f.Fields, FieldError{Path: path, Message: e.Message, Hint: e.Hint})
	}
	for _, field := range e.Fields {
		if field.Path != "" && path != "" {
			field.Path = path + "." + field.Path
		} else {
			field.Path += path
		}
		f.Fields = append(f.Fields, field)
	}
}

// Err returns one error of [CodeInvalid] with every fault, or nil.
func (f *Faults) Err(what string) error {
	if len(f.Fields) == 0 {
		return nil
	}
	for i := range f.Fields {
		f.Fields[i].at = place{}
	}
	return &Error{Code: CodeInvalid, Message: what, Fields: f.Fields}
}
