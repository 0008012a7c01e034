package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// slowest is how long one write to a stream may take before its reader is given up.
const slowest = 10 * time.Second

type eventsInput struct {
	Type []string `query:"type,explode" doc:"Only these types; may be given several times"`
	Last string   `header:"Last-Event-ID" doc:"Of a stream that broke off; the new one begins with an event of type gap"`
}

func eventTypes() []string {
	return []string{client.EventTask, client.EventNode, client.EventJob, client.EventProcess, client.EventDispatch, client.EventRecord, client.EventExecution}
}

func (s *server) eventRoutes(a huma.API) {
	event := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Event](), true, "Event")
	handle(s, a, route{http.MethodGet, "/events", "events", "Follow what changes", RoleViewer}, s.events, func(op *huma.Operation) {
		op.Responses["200"] = &huma.Response{
			Description: "A stream of server-sent events; the data of each is an Event.",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: event}},
		}
	})
}

func (s *server) events(_ context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	for _, t := range in.Type {
		if known := eventTypes(); !slices.Contains(known, t) {
			return nil, job.Errorf(job.CodeInvalid, "there are no events of type %.40q", t).WithHint("%s", wantOneOf(t, known))
		}
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		st := &eventStream{w: w, control: http.NewResponseController(w)}
		s.stream(r.Context(), st, in)
	}}, nil
}

// stream writes events until the context ends or the reader is gone.
func (s *server) stream(ctx context.Context, st *eventStream, in *eventsInput) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := s.master.Subscribe(ctx)
	defer func() {
		cancel()
		for range events { //nolint:revive // until the master has closed it
		}
	}()
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	if !st.hello(in.Last) {
		return
	}
	beat := time.NewTicker(s.heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if !st.send([]byte(": \n\n")) {
				return
			}
		case e, ok := <-events:
			if !ok {
				return
			}
			if len(in.Type) > 0 && e.Type != client.EventGap && !slices.Contains(in.Type, e.Type) {
				continue
			}
			if !st.event(e) {
				return
			}
		}
	}
}

// eventStream writes server-sent events.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	id      int64
}

// hello begins a stream: an id, so that the reader can tell that it had one, and for one that had, a gap.
func (st *eventStream) hello(last string) bool {
	if !st.send([]byte("retry: 1000\nid: 0\n\n")) {
		return false
	}
	return last == "" || st.event(master.Event{Type: client.EventGap, At: time.Now().UTC()})
}

func (st *eventStream) event(e master.Event) bool {
	data, err := json.Marshal(e)
	if err != nil {
		data, _ = json.Marshal(master.Event{Type: e.Type, Change: e.Change, Key: e.Key, At: e.At})
	}
	st.id++
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %d\nevent: %s\ndata: %s\n\n", st.id, e.Type, data)
	return st.send(b.Bytes())
}

// send writes and flushes; false: the reader is gone.
func (st *eventStream) send(b []byte) bool {
	if err := st.control.SetWriteDeadline(time.Now().Add(slowest)); err != nil {
		return false
	}
	if _, err := st.w.Write(b); err != nil {
		return false
	}
	return st.control.Flush() == nil
}
