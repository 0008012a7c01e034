package client

import (
	"context"
	"errors"
	"net/http"

	"github.com/rota-dev/rota/job"
)

// Problem is the API's answer to what it refuses: a problem document (RFC 9457) with the error's code, hint and fields.
type Problem struct {
	Title  string           `json:"title"`
	Status int              `json:"status"`
	Detail string           `json:"detail"`
	Code   job.Code         `json:"code"`
	Hint   string           `json:"hint,omitempty"`
	Fields []job.FieldError `json:"fields,omitempty"`
	// Request names the request in the server's log.
	Request string `json:"request_id,omitempty"`
}

// ProblemType is the content type of a Problem.
const ProblemType = "application/problem+json"

// StatusOf is the HTTP status of a code. It is the one table between the two, which both directions read; a function, so
// that nothing can change it.
func StatusOf(code job.Code) int {
	switch code {
	case job.CodeInvalid:
		return http.StatusUnprocessableEntity
	case job.CodeNotFound:
		return http.StatusNotFound
	case job.CodeConflict:
		return http.StatusConflict
	case job.CodeUnauthorized:
		return http.StatusUnauthorized
	case job.CodeForbidden:
		return http.StatusForbidden
	case job.CodeUnavailable:
		return http.StatusServiceUnavailable
	case job.CodeExhausted:
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// Codes are all codes that go over the wire.
func Codes() []job.Code {
	return []job.Code{
		job.CodeInvalid, job.CodeNotFound, job.CodeConflict, job.CodeUnauthorized, job.CodeForbidden,
		job.CodeUnavailable, job.CodeExhausted, job.CodeInternal,
	}
}

// CodeOf is the code of an HTTP status, for an answer that does not say its code itself, such as one of a proxy.
func CodeOf(status int) job.Code {
	for _, c := range Codes() {
		if StatusOf(c) == status {
			return c
		}
	}
	switch status {
	case http.StatusGone:
		return job.CodeNotFound
	case http.StatusPreconditionFailed:
		return job.CodeConflict
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout:
		return job.CodeUnavailable
	}
	if status >= 400 && status < 500 {
		return job.CodeInvalid
	}
	return job.CodeInternal
}

// NewProblem says an error over the wire. What is no [job.Error] is a fault of the server's own, of which the
// document tells nothing but that it is.
func NewProblem(err error) *Problem {
	var e *job.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.DeadlineExceeded):
		e = job.Errorf(job.CodeUnavailable, "the server took too long").WithHint("try again")
	default:
		e = job.Errorf(job.CodeInternal, "the server failed to answer").WithHint("its log says why")
	}
	status := StatusOf(e.Code)
	return &Problem{
		Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code, Hint: e.Hint, Fields: e.Fields,
	}
}

// Err is the error that the server meant.
func (p *Problem) Err() *job.Error {
	code := p.Code
	if code == "" {
		code = CodeOf(p.Status)
	}
	message := p.Detail
	if message == "" {
		message = p.Title
	}
	hint := p.Hint
	if code == job.CodeInternal && p.Request != "" {
		hint += " (request " + p.Request + ")"
	}
	return &job.Error{Code: code, Message: message, Hint: hint, Fields: p.Fields}
}
