package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

type logInput struct {
	RunPath
	Follow  string `query:"follow" enum:"true,false" doc:"Wait for the end of the run; default: true for a stream of events, false for the rest"`
	Attempt int    `query:"attempt" minimum:"0" doc:"Begin with this attempt; default: the first"`
	Offset  int64  `query:"offset" minimum:"0" doc:"Begin so many bytes into the attempt's output"`
	Last    string `header:"Last-Event-ID" doc:"ATTEMPT:OFFSET, the id of an event: go on after it"`
	Accept  string `header:"Accept" doc:"text/event-stream, application/json (a list of events), or anything else: the bytes as they are"`
}

// The forms in which a log is told.
const (
	formEvents = "text/event-stream"
	formJSON   = "application/json"
	formBytes  = "application/octet-stream"
)

func (in *logInput) form() string {
	for _, form := range []string{formEvents, formJSON} {
		if strings.Contains(in.Accept, form) {
			return form
		}
	}
	return formBytes
}

func (in *logInput) from() (job.LogPosition, error) {
	if in.Last != "" {
		return job.ParseLogPosition(in.Last)
	}
	if in.Offset > 0 && in.Attempt == 0 {
		in.Attempt = 1
	}
	return job.LogPosition{Attempt: in.Attempt, Offset: in.Offset}, nil
}

func (s *server) logRoutes(a huma.API) {
	event := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.LogEvent](), true, "LogEvent")
	handle(s, a, route{http.MethodGet, "/runs/{run}/log", "get-log", "Read or follow what a run writes", RoleViewer}, s.runLog, func(op *huma.Operation) {
		op.Responses["200"] = &huma.Response{
			Description: "What the run wrote, of all attempts. A stream ends with an event of type end, or error; the id of an event " +
				"says where the log goes on after it. A list, or bytes, that break off are not complete.",
			Content: map[string]*huma.MediaType{
				formEvents: {Schema: event},
				formJSON:   {Schema: &huma.Schema{Type: huma.TypeArray, Items: event}},
				formBytes:  {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
			},
		}
	})
}

func (s *server) runLog(_ context.Context, in *logInput) (*huma.StreamResponse, error) {
	from, err := in.from()
	if err != nil {
		return nil, err
	}
	form := in.form()
	req := master.LogRequest{
		Run: job.RunID(in.Run), From: from, Follow: in.Follow == "true" || in.Follow == "" && form == formEvents, Beat: s.heartbeat,
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		l := &logWriter{eventStream: eventStream{w: w, control: http.NewResponseController(w)}, form: form}
		err := s.master.Log(r.Context(), req, l.event)
		switch {
		case err == nil:
			l.close()
		case !l.begun:
			s.problem(w, r, err)
		case errors.Is(err, errReaderGone), r.Context().Err() != nil && job.CodeOf(err) == job.CodeInternal:
			panic(http.ErrAbortHandler) // what was sent so far must not look complete
		default:
			l.fail(s.toProblem(r.Context(), err))
		}
	}}, nil
}

// logWriter writes a log's events in one of the forms.
type logWriter struct {
	eventStream
	form   string
	begun  bool
	listed int
}

var errReaderGone = errors.New("the reader is gone, or too slow")

func (l *logWriter) event(e master.LogEvent) error {
	var b bytes.Buffer
	if !l.begun {
		l.begun = true
		h := l.w.Header()
		h.Set("Content-Type", l.form)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Accel-Buffering", "no")
		switch l.form {
		case formEvents:
			b.WriteString("retry: 1000\n")
		case formJSON:
			b.WriteByte('[')
		}
	}
	switch {
	case l.form == formBytes:
		if e.Chunk != nil {
			b.Write(e.Chunk.Data)
		}
	case e.Type == "" && l.form == formEvents:
		b.WriteString(": \n\n")
	case e.Type == "":
		b.WriteByte('\n')
	default:
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if l.form == formEvents {
			if e.Type == client.LogOutput || e.Type == client.LogAttempt {
				fmt.Fprintf(&b, "id: %s\n", e.At)
			}
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", e.Type, data)
			break
		}
		if l.listed++; l.listed > 1 {
			b.WriteString(",\n")
		}
		b.Write(data)
	}
	if b.Len() > 0 && !l.send(b.Bytes()) {
		return errReaderGone
	}
	return nil
}

func (l *logWriter) close() {
	if l.form == formJSON {
		l.send([]byte("]\n"))
	}
}

// fail tells why the log ends before its end.
func (l *logWriter) fail(p *client.Problem) {
	if l.form == formBytes {
		panic(http.ErrAbortHandler)
	}
	if l.event(master.LogEvent{Type: client.LogError, Problem: p}) == nil {
		l.close()
	}
}

// maxLogBody is the most that a batch takes as JSON, where every byte may take six.
const maxLogBody = 6*job.MaxLogBatch + 256*job.MaxLogChunks

// takeLog takes a batch of a log from a node. Its right to send it is the follow's token.
func (s *server) takeLog(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogBody))
	if err != nil {
		s.problem(w, r, job.Errorf(job.CodeInvalid, "read a batch of a log: %w", err))
		return
	}
	var b job.LogBatch
	if err := json.Unmarshal(body, &b); err != nil {
		s.problem(w, r, job.Errorf(job.CodeInvalid, "read a batch of a log: %w", err))
		return
	}
	wanted, err := s.master.TakeLog(r.Context(), r.PathValue("id"), bearer(r), &b)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", formJSON)
	json.NewEncoder(w).Encode(wanted)
}
