package ways

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

const (
	dialTimeout  = 30 * time.Second
	maxAnswer    = 64 << 20  // bytes of an answer's body that are read
	maxMatched   = 1 << 20   // of which so many are searched by expect_body
	maxHeaders   = 128 << 10 // bytes of an answer's headers that are accepted
	maxShown     = 8 << 10   // bytes of an answer's headers that are shown
	maxShownLine = 1 << 10
)

// request is what a run over HTTP is made of.
type request struct {
	r      *Runner
	task   *job.HTTP
	req    *http.Request
	client *http.Client
	own    []string // headers for the origin alone: what the task wrote, and the secret
	expect *regexp.Regexp
	mask   *secrets.Masker
}

func (r *Runner) startHTTP(e job.Exec) (job.Execution, error) {
	q, err := r.request(&e)
	if err != nil {
		return nil, err
	}
	return r.begin(e, q.mask, func(x *execution) job.Exit {
		defer q.client.CloseIdleConnections()
		out := q.mask.Writer(x.out.stream(job.Stdout))
		exit := q.do(x.ctx, out)
		_ = out.Flush()
		return exit
	}), nil
}

// request makes everything ready that can be known to be wrong before anything is sent.
func (r *Runner) request(e *job.Exec) (*request, error) {
	h := e.Way.HTTP
	q := &request{r: r, task: h, mask: &secrets.Masker{}}
	method := h.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, h.URL, bytes.NewReader([]byte(h.Body))) //nolint:noctx // do gives it its context
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "http.url: %w", err)
	}
	if h.Body == "" {
		req.Body, req.GetBody, req.ContentLength = http.NoBody, nil, 0
	}
	for k, v := range h.Headers {
		if http.CanonicalHeaderKey(k) == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
		q.own = append(q.own, k)
	}
	if err := q.authorize(req); err != nil {
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "rota")
	}
	introduce(req.Header, e)
	if h.ExpectBody != "" {
		if q.expect, err = regexp.Compile(h.ExpectBody); err != nil {
			return nil, job.Errorf(job.CodeInvalid, "http.expect_body: %w", err)
		}
	}
	conf, err := r.tlsConfig(h.TLS, q.mask)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: r.control}
	q.req = req
	q.client = &http.Client{
		CheckRedirect: q.redirect,
		// No Proxy: a proxy would dial, so that nobody judged the address.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: conf, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaders,
		},
	}
	return q, nil
}

// introduce says whose run it is. All attempts of a run have the same idempotency key, so that the other side can tell a
// request that is made again because its answer was lost.
func introduce(h http.Header, e *job.Exec) {
	set := func(name, value string) {
		if value != "" && h.Get(name) == "" {
			h.Set(name, value)
		}
	}
	set("Idempotency-Key", string(e.Run))
	set("Rota-Run", string(e.Run))
	set("Rota-Task", job.Ref(variable(e, "ROTA_GROUP"), variable(e, "ROTA_TASK")).String())
	set("Rota-Attempt", fmt.Sprint(e.Attempt))
	set("Rota-Instant", variable(e, "ROTA_INSTANT"))
	set("Rota-Fence", variable(e, "ROTA_FENCE"))
}

// authorize sets the header that has the secret.
func (q *request) authorize(req *http.Request) error {
	a := q.task.Auth
	if a == nil {
		return nil
	}
	secret, err := q.r.Secrets.Read(a.Secret)
	if err != nil {
		return err
	}
	for _, c := range []byte(secret) {
		if c < ' ' || c == 0x7f {
			return job.Errorf(job.CodeInvalid, "secret %s has a line break or a control character in it, which no header can have", a.Secret)
		}
	}
	q.mask.Add(secret)
	name, value := "Authorization", "Bearer "+secret
	switch {
	case a.Header != "":
		name, value = a.Header, secret
	case a.User != "":
		basic := http.Request{Header: http.Header{}}
		basic.SetBasicAuth(a.User, secret)
		value = basic.Header.Get("Authorization")
		q.mask.Add(strings.TrimPrefix(value, "Basic "))
	}
	req.Header.Set(name, value)
	q.own = append(q.own, name)
	return nil
}

// control judges the very address that is about to be dialled.
func (r *Runner) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return job.Errorf(job.CodeForbidden, "%q is no address", address)
	}
	if r.Judge != nil {
		if allowed, err := r.Judge(a.Addr().Unmap().WithZone("")); allowed || err != nil {
			return err
		}
	}
	return checkAddr(a.Addr(), r.Allow)
}

// redirect follows as many redirects as the task allows. What the task wrote for one origin, and the secret most of all, goes to
// no other.
func (q *request) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > q.task.FollowRedirects {
		return http.ErrUseLastResponse
	}
	if req.URL.User != nil {
		return job.Errorf(job.CodeForbidden, "redirected to a URL with credentials in it")
	}
	req.Header.Del("Referer")
	if origin(req.URL) != origin(via[0].URL) {
		for _, name := range q.own {
			req.Header.Del(name)
		}
		req.Host = ""
	}
	return nil
}

func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = u.Scheme
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// do makes the request and writes the answer to out.
func (q *request) do(ctx context.Context, out io.Writer) job.Exit {
	resp, err := q.client.Do(q.req.WithContext(ctx))
	if err != nil {
		return failed("%s", reason(err))
	}
	defer resp.Body.Close()
	if last := resp.Request.URL; last.String() != q.req.URL.String() {
		fmt.Fprintf(out, "redirected to %s\n", last)
	}
	showHead(out, resp)

	first := &bytes.Buffer{}
	n, err := io.Copy(io.MultiWriter(out, &head{first, maxMatched}), io.LimitReader(resp.Body, maxAnswer))
	exit := job.Exit{Outcome: job.Success, EndedBy: job.EndedByExit}
	if status := resp.StatusCode; !q.task.Expect.Has(status) {
		exit = failed("the answer is %s, expected %s", resp.Status, q.task.Expect)
	} else if err != nil {
		exit = failed("the answer breaks off after %d bytes: %s", n, reason(err))
	} else if q.expect != nil && !q.expect.Match(first.Bytes()) {
		exit = failed("the answer does not match %q", q.task.ExpectBody)
	}
	if n == maxAnswer && err == nil {
		fmt.Fprintf(out, "\n[what follows the first %d bytes was not read]\n", int64(maxAnswer))
	}
	if q.task.ResultFrom == job.ResultFromBody {
		if n > maxMatched {
			exit.ResultError = fmt.Sprintf("the answer has %d bytes, at most %d are kept", n, job.MaxResult)
		} else {
			takeResult(&exit, "the answer", q.mask.Bytes(first.Bytes()))
		}
	}
	return exit
}

// head passes on the first bytes, up to a limit.
type head struct {
	to   io.Writer
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(h.left, len(p))
	h.left -= n
	if n > 0 {
		if _, err := h.to.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// private are the headers whose values are for the two sides alone.
var private = []string{"Set-Cookie", "Set-Cookie2", "Authorization", "Proxy-Authenticate", "Authentication-Info", "Proxy-Authentication-Info"}

func showHead(out io.Writer, resp *http.Response) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", resp.Proto, resp.Status)
	for _, k := range slices.Sorted(maps.Keys(resp.Header)) {
		for _, v := range resp.Header[k] {
			if slices.Contains(private, k) {
				v = "[not shown]"
			}
			if len(v) > maxShownLine {
				v = strings.ToValidUTF8(v[:maxShownLine], "") + "…"
			}
			if b.Len()+len(k)+len(v) > maxShown {
				b.WriteString("[further headers are not shown]\n\n")
				_, _ = out.Write(b.Bytes())
				return
			}
			fmt.Fprintf(&b, "%s: %s\n", k, v)
		}
	}
	b.WriteByte('\n')
	_, _ = out.Write(b.Bytes())
}

// reason is an error of the client's without the URL, which the record has already.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	text := err.Error()
	var e *job.Error
	if errors.As(err, &e) && e.Hint != "" && !strings.Contains(text, e.Hint) {
		text += "; " + e.Hint
	}
	return text
}
