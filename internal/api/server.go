package api

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// Bounds of what a request may take.
const (
	maxBody      = 4 << 20
	maxApply     = 64 << 20 // of an editor's documents: some 200,000 tasks
	maxHeader    = 64 << 10
	readHeader   = 10 * time.Second
	readBody     = 30 * time.Second
	readApply    = 2 * time.Minute
	longestApply = 10 * time.Minute
	writeTimeout = time.Minute // streams and long polls set their own
	idleTimeout  = 2 * time.Minute
)

// Options are what an API is made of.
type Options struct {
	Master  Master
	Tokens  Authenticator
	Logger  *slog.Logger // default: none
	Version string
	// ExternalURL is where people and watched jobs reach the server; empty: where it was asked.
	ExternalURL string
	Metrics     http.Handler // served at /metrics; nil: nothing is
	UI          http.Handler // served at / and below; nil: a page that says that there is none
	// Heartbeat is how often an idle stream gives a sign of life. Default: 15 s.
	Heartbeat time.Duration
}

// uiPattern is that of the user interface, which takes what nothing else does, but for the API's own paths.
const uiPattern = "GET /"

type server struct {
	master    Master
	tokens    Authenticator
	log       *slog.Logger
	version   string
	heartbeat time.Duration
	external  string // where people reach it; empty: where it is asked
	pingers   buckets
	spec      []byte // the OpenAPI document

	largeApply chan struct{} // capacity 1: taken while what is large is applied
}

//go:embed index.html
var indexPage []byte

// New makes the handler of the API. Streams and long polls end with the context of their request: the server that
// uses the handler must end it when it stops, see [NewServer].
func New(o Options) http.Handler {
	s := &server{master: o.Master, tokens: o.Tokens, log: o.Logger, version: o.Version, heartbeat: o.Heartbeat, external: o.ExternalURL, largeApply: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.heartbeat == 0 {
		s.heartbeat = 15 * time.Second
	}
	mux := http.NewServeMux()
	s.spec = s.routes(mux)
	mux.HandleFunc("GET /openapi.json", s.openapi)
	mux.HandleFunc("POST "+job.LogPath+"{id}", s.takeLog)
	for _, method := range []string{"GET ", "POST "} { // GET has HEAD in it
		mux.HandleFunc(method+pingPath+"{ping...}", s.ping)
	}
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	if o.UI != nil {
		mux.Handle(uiPattern, o.UI)
	} else {
		mux.HandleFunc("GET /{$}", s.index)
	}
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.problem(w, r, job.Errorf(job.CodeForbidden, "a page of another origin may not do this"))
	}))
	return s.identify(s.logged(s.contained(origin.Handler(s.authenticate(hosted(s.found(mux)))))))
}

// NewServer makes an HTTP server with the bounds of the API. What it serves ends when the context does, so
// that a shutdown after it does not wait for streams.
func NewServer(ctx context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: readHeader,
		ReadTimeout:       readBody,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func (s *server) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	w.Write(s.spec)
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	var answer struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons,omitempty"`
	}
	status := http.StatusOK
	if err := s.master.Ready(r.Context()); err != nil {
		status = http.StatusServiceUnavailable
		answer.Reasons = strings.Split(err.Error(), "\n")
	}
	answer.Ready = status == http.StatusOK
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}

func (s *server) index(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	w.Write(bytes.ReplaceAll(indexPage, []byte("{{version}}"), []byte(s.version)))
}

type requestKey struct{}

// identify gives each request a name, the caller's if it sent a fit one.
func (s *server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if len(id) > 64 || job.CheckName("request", id) != nil {
			var b [8]byte
			rand.Read(b[:])
			id = hex.EncodeToString(b[:])
		}
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, id)))
	})
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// logged writes the access log.
func (s *server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		begin := time.Now()
		defer func() {
			s.log.DebugContext(r.Context(), "request", "method", r.Method, "path", shownPath(r), "status", rec.status,
				"bytes", rec.bytes, "took", time.Since(begin), "from", r.RemoteAddr, "request", requestID(r.Context()))
		}()
		next.ServeHTTP(rec, r)
	})
}

// contained keeps a panic from anything but its own request.
func (s *server) contained(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			s.log.ErrorContext(r.Context(), "a request panicked", "method", r.Method, "path", r.URL.Path,
				"request", requestID(r.Context()), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler) // what was sent so far must not look complete
			}
			s.problem(w, r, job.Errorf(job.CodeInternal, "the server failed to answer").WithHint("its log says why"))
		}()
		next.ServeHTTP(w, r)
	})
}

// found answers what no route matches with a problem document; it keeps the status and the Allow header of the mux.
func (s *server) found(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" && (pattern != uiPattern || !needsToken(r.URL.Path)) {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &probe{header: http.Header{}}
		if pattern == "" {
			h.ServeHTTP(probe, r)
		}
		if allow := probe.header.Get("Allow"); probe.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allow)
			p := client.NewProblem(job.Errorf(job.CodeInvalid, "%s does not know the method %s", r.URL.Path, r.Method).
				WithHint("it knows %s", allow))
			p.Status, p.Title = probe.status, http.StatusText(probe.status)
			s.write(w, r, p)
			return
		}
		s.problem(w, r, job.Errorf(job.CodeNotFound, "there is nothing at %s", r.URL.Path).
			WithHint("/openapi.json lists what there is"))
	})
}

// problem answers with an error.
func (s *server) problem(w http.ResponseWriter, r *http.Request, err error) {
	s.write(w, r, s.toProblem(r.Context(), err))
}

func (s *server) write(w http.ResponseWriter, r *http.Request, p *client.Problem) {
	p.Request = requestID(r.Context())
	w.Header().Set("Content-Type", client.ProblemType)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// toProblem makes the document of an error. A fault of the server's own is logged.
func (s *server) toProblem(ctx context.Context, err error) *client.Problem {
	p := client.NewProblem(err)
	p.Request = requestID(ctx)
	if p.Code == job.CodeInternal && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "a request failed", "request", p.Request, "error", err)
	}
	return p
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find what is below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// probe takes an answer's status and header, and nothing else.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(status int)      { p.status = status }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
