package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rota-dev/rota/job"
)

// DefaultServer is where a server listens that was told nothing else.
const DefaultServer = "http://127.0.0.1:7682"

// Options say which server to speak to, and how. The zero value is the default server without a token.
type Options struct {
	// Server is the address: http://host:port, or host:port for http; default: DefaultServer. Several, parted by commas, are masters
	// of one cluster: where one does not answer, or says that it can't serve, the next one is asked.
	Server    string
	Token     string            // the bearer token
	UserAgent string            // default: rota-client
	Transport http.RoundTripper // default: one of the client's own
	// Retries is how often a request that can safely be sent again is, when the server can't be reached
	// or says that it is not available. Default: 2; negative: never.
	Retries int
}

// Client speaks to a server. It is safe for concurrent use.
type Client struct {
	servers []*url.URL
	at      atomic.Int32 // which of them is asked
	token   string
	agent   string
	http    *http.Client
	retries int
}

// New makes a client. It does not connect.
func New(o Options) (*Client, error) {
	servers, err := parseServers(o.Server)
	if err != nil {
		return nil, err
	}
	c := &Client{servers: servers, token: o.Token, agent: o.UserAgent, retries: o.Retries}
	if c.agent == "" {
		c.agent = "rota-client"
	}
	dial := 10 * time.Second
	if len(servers) > 1 {
		dial = 3 * time.Second
	}
	if c.retries == 0 {
		c.retries = max(2, 2*len(servers))
	}
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: dial, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 2 * time.Minute, // a long poll takes one at most
			IdleConnTimeout:       30 * time.Second,
			ForceAttemptHTTP2:     true,
		}
	}
	c.http = &http.Client{Transport: transport}
	return c, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Server is the address that the client speaks to, of several the one that it speaks to now.
func (c *Client) Server() string { return c.base().String() }

func (c *Client) base() *url.URL { return c.servers[int(c.at.Load())%len(c.servers)] }

// next has the server after one asked from now on, unless another caller was first.
func (c *Client) next(from *url.URL) {
	at := c.at.Load()
	if len(c.servers) > 1 && c.servers[int(at)%len(c.servers)] == from {
		c.at.CompareAndSwap(at, (at+1)%int32(len(c.servers)))
	}
}

func parseServers(s string) (all []*url.URL, err error) {
	for _, one := range strings.Split(s, ",") {
		if one = strings.TrimSpace(one); one == "" && s != "" {
			continue
		}
		u, err := parseServer(one)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	if len(all) == 0 {
		return nil, job.Errorf(job.CodeInvalid, "server address %q cannot be used", s).WithHint("write it as %s", DefaultServer)
	}
	return all, nil
}

func parseServer(s string) (*url.URL, error) {
	if s == "" {
		s = DefaultServer
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.User != nil {
		return nil, job.Errorf(job.CodeInvalid, "server address %q cannot be used", s).WithHint("write it as %s", DefaultServer)
	}
	return u, nil
}

// call is one request.
type call struct {
	method string
	path   []string // below /api/v1, not escaped
	query  url.Values
	header http.Header
	body   []byte
	kind   string // the body's content type
	out    any    // where the answer goes; nil: nowhere
	// again tells that the request may be sent twice although the first may have had its effect.
	again bool
	once  bool // never sent twice
}

func get(out any, path ...string) *call {
	return &call{method: http.MethodGet, path: path, out: out, query: url.Values{}, again: true}
}

func post(out any, path ...string) *call {
	return &call{method: http.MethodPost, path: path, out: out, query: url.Values{}}
}

// json sets the body.
func (r *call) json(v any) (*call, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "encode the request: %w", err)
	}
	r.body, r.kind = b, "application/json"
	return r, nil
}

// set adds a query parameter where it has a value.
func (r *call) set(key, value string) *call {
	if value != "" {
		r.query.Add(key, value)
	}
	return r
}

// do sends a request and reads its answer, again where that is safe and may help.
func (c *Client) do(ctx context.Context, r *call) error {
	for try := 0; ; try++ {
		resp, err := c.send(ctx, r)
		if err == nil {
			return c.read(resp, r.out)
		}
		if r.once || try >= c.retries || !transient(err, r.again) || !pause(ctx, try) {
			return err
		}
	}
}

// send sends a request once. Its error is a [job.Error]; a response has a status below 300 and its body open.
func (c *Client) send(ctx context.Context, r *call) (*http.Response, error) {
	base := c.base()
	u := base.JoinPath("api/v1")
	for _, p := range r.path {
		if strings.Trim(p, ".") == "" { // it would name another path
			return nil, job.Errorf(job.CodeInvalid, "%q is not a name", p)
		}
		u = u.JoinPath(url.PathEscape(p))
	}
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "make the request: %w", err)
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("User-Agent", c.agent)
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			c.next(base)
		}
		return nil, c.unreachable(base, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		err := c.refusal(base, resp)
		if job.CodeOf(err) == job.CodeUnavailable {
			c.next(base)
			if resp.Header.Get(UntouchedHeader) != "" {
				err = &untouched{err}
			}
		}
		return nil, err
	}
	return resp, nil
}

func (c *Client) read(resp *http.Response, out any) error {
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return job.Errorf(job.CodeUnavailable, "read the answer of %s: %w", c.base(), err).WithHint("is it a Rota server?")
	}
	return nil
}

// refusal turns an answer into the error that the server meant.
func (c *Client) refusal(base *url.URL, resp *http.Response) error {
	const most = 1 << 20
	body, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	p := Problem{}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != ProblemType || json.Unmarshal(body, &p) != nil {
		p = Problem{
			Detail: fmt.Sprintf("%s answers %s", base, resp.Status),
			Hint:   "is it a Rota server?",
		}
	}
	p.Status = resp.StatusCode
	e := p.Err()
	if e.Code == job.CodeUnauthorized {
		e.Hint = "give a token with ROTA_TOKEN or --token-file, or name the server's data folder with --data"
	}
	return e
}

// unreachable says of an error of the connection where it was and how to mend it.
func (c *Client) unreachable(base *url.URL, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	e := job.Errorf(job.CodeUnavailable, "no answer from %s: %w", base, err)
	if refused(err) {
		return e.WithHint("is it running? start one with: rota up")
	}
	return e.WithHint("is it a Rota server? name another one with --server or ROTA_SERVER")
}

// UntouchedHeader is set by a server that does not serve yet: what was asked had no effect, and may be asked of another one.
const UntouchedHeader = "Rota-Untouched"

// untouched is the error of such an answer.
type untouched struct{ error }

func (e *untouched) Unwrap() error { return e.error }

// refused tells whether the request can't have arrived, or had no effect.
func refused(err error) bool {
	var u *untouched
	return errors.As(err, &u) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

func transient(err error, again bool) bool {
	return refused(err) || (again && job.CodeOf(err) == job.CodeUnavailable)
}

// pause waits before a further try; false when the context ended before.
func pause(ctx context.Context, try int) bool {
	t := time.NewTimer(100 * time.Millisecond << min(try, 5))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
