package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/internal/ways"
	"github.com/rota-dev/rota/job"
)

// The headers of a webhook.
const (
	HeaderDelivery  = "Rota-Delivery"  // the message's ID: the same at each attempt
	HeaderEvent     = "Rota-Event"     // what happened
	HeaderTimestamp = "Rota-Timestamp" // of the attempt, in seconds since 1970
	HeaderSignature = "Rota-Signature" // v1= and the HMAC-SHA256, in hexadecimal, of the timestamp, a dot and the body
)

const (
	attemptTime = 30 * time.Second
	maxAnswer   = 4 << 10
)

// Sender sends messages. It is safe for concurrent use.
type Sender struct {
	Secrets secrets.Dir      // of the masters
	Allow   []netip.Prefix   // networks that may be reached although they are not public
	Roots   *x509.CertPool   // nil: those of the system
	Now     func() time.Time // for the timestamps of webhooks
}

// Send makes one attempt to send a message, and tells what the receiver answered. The error says why it did not take it; neither has a
// secret in it.
func (s *Sender) Send(ctx context.Context, r *job.Receiver, m Message) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	mask := &secrets.Masker{}
	values := map[string]string{}
	for _, name := range r.Secrets() {
		v, err := s.Secrets.Read(name)
		if err != nil {
			return "", onMaster(err)
		}
		values[name] = v
		mask.Add(v)
	}
	m.Output, m.Reason = mask.String(m.Output), mask.String(m.Reason)
	switch {
	case r.Mail != nil:
		answer, err = s.mail(ctx, r.Mail, m, values)
	case r.Webhook != nil:
		answer, err = s.webhook(ctx, r.Webhook, m, values)
	case r.Slack != nil:
		answer, err = s.slack(ctx, r.Slack, m, values)
	default:
		err = job.Errorf(job.CodeInvalid, "receiver %s says not how to reach it", r.Name)
	}
	answer = clip(mask.String(answer), maxReason)
	if err != nil {
		var e *job.Error
		if errors.As(err, &e) {
			e.Message = clip(mask.String(e.Message), maxReason)
			return answer, e
		}
		err = job.Errorf(job.CodeUnavailable, "%s", clip(mask.String(err.Error()), maxReason))
	}
	return answer, err
}

// onMaster says on which machine a secret is missing.
func onMaster(err error) error {
	var e *job.Error
	if errors.As(err, &e) {
		e.Message = strings.ReplaceAll(e.Message, "on this node", "on this master")
		e.Hint = strings.ReplaceAll(e.Hint, "as whom the agent runs", "as whom the master runs")
	}
	return err
}

// control refuses a connection to an address that is neither public nor allowed, after its name was resolved.
func (s *Sender) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !ways.Reachable(a.Addr(), s.Allow) {
		addr := a.Addr().Unmap().WithZone("")
		return job.Errorf(job.CodeForbidden, "address %s is not public, and this master does not send messages to it", addr).
			WithHint("the master's owner may allow its network: --notify-allow %s", netip.PrefixFrom(addr, addr.BitLen()))
	}
	return nil
}

func (s *Sender) dialer() *net.Dialer {
	return &net.Dialer{Timeout: attemptTime, ControlContext: s.control}
}

// target is the URL of a receiver.
func target(t job.TextOrSecret, values map[string]string) (string, error) {
	if t.Secret == "" {
		return t.Text, nil
	}
	if err := job.CheckNotifyURL(values[t.Secret]); err != nil {
		return "", job.Errorf(job.CodeInvalid, "secret %s: %w", t.Secret, err)
	}
	return values[t.Secret], nil
}

func (s *Sender) webhook(ctx context.Context, w *job.Webhook, m Message, values map[string]string) (string, error) {
	to, err := target(w.URL, values)
	if err != nil {
		return "", err
	}
	body := m.JSON()
	h := http.Header{}
	for k, v := range w.Headers {
		h.Set(k, v)
	}
	stamp := strconv.FormatInt(s.Now().Unix(), 10)
	h.Set(HeaderDelivery, m.ID)
	h.Set(HeaderEvent, string(m.Event))
	h.Set(HeaderTimestamp, stamp)
	if w.Secret != nil {
		h.Set(HeaderSignature, Sign(values[w.Secret.Secret], stamp, body))
	}
	return s.post(ctx, to, h, body)
}

// Sign is the signature of a webhook's body.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

func (s *Sender) slack(ctx context.Context, r *job.Slack, m Message, values map[string]string) (string, error) {
	to, err := target(r.URL, values)
	if err != nil {
		return "", err
	}
	// A fence in the output must not end the one around it, and what is marked up is escaped as Slack wants it.
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "```", "'''")
	body, err := json.Marshal(map[string]string{"text": "*" + escape.Replace(m.Title()) + "*\n```\n" + escape.Replace(strings.TrimRight(m.Text(), "\n")) + "\n```"})
	if err != nil {
		return "", err
	}
	return s.post(ctx, to, http.Header{}, body)
}

// post sends a body once. Redirects are not followed: a receiver says where it is.
func (s *Sender) post(ctx context.Context, to string, h http.Header, body []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return "", withoutURL(err)
	}
	req.Header = h
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("User-Agent", "rota")
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// No Proxy: a proxy would dial, so that nobody judged the address.
		Transport: &http.Transport{
			DialContext: s.dialer().DialContext, TLSClientConfig: s.tls(""), TLSHandshakeTimeout: attemptTime, ForceAttemptHTTP2: true,
			DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		},
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", withoutURL(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // an answer that breaks off has been given by its status
	answer := strings.TrimSpace(fmt.Sprintf("%s %s", resp.Status, strings.TrimSpace(string(text))))
	if resp.StatusCode/100 != 2 {
		e := job.Errorf(job.CodeUnavailable, "the receiver answered %s", answer)
		return answer, &Later{Err: e, After: retryAfter(resp.Header.Get("Retry-After"))}
	}
	return answer, nil
}

// Later is an error with the receiver's own word on when to try again; 0: none.
type Later struct {
	Err   error
	After time.Duration
}

func (l *Later) Error() string { return l.Err.Error() }
func (l *Later) Unwrap() error { return l.Err }

func retryAfter(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// withoutURL is the error without the URL, which may be a secret.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err
}

func (s *Sender) tls(server string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.Roots, ServerName: server}
}
