package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

func sender(t *testing.T, values map[string]string) *Sender {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, v := range values {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &Sender{Secrets: secrets.Dir(dir), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Now: func() time.Time { return epoch }}
}

func failure() Message {
	code := 3
	return Message{
		Version: 1, ID: "id1", Thread: "th1", Event: job.AlertFailed, Sort: job.AlertTask, Name: "default/bäckup", Node: "n1", At: epoch, Since: epoch, Count: 1,
		Outcome: job.Failed, Reason: "exit code 3", ExitCode: &code, Output: "the key is s3cret-key <x>\n.\n", Record: "r1",
	}
}

func TestWebhookIsSigned(t *testing.T) {
	t.Parallel()
	var got http.Header
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		body, _ = io.ReadAll(r.Body)
		io.WriteString(w, "taken")
	}))
	defer srv.Close()
	s := sender(t, map[string]string{"hook": "s3cret-key"})
	r := &job.Receiver{Name: "ops", Webhook: &job.Webhook{URL: job.TextOrSecret{Text: srv.URL}, Secret: &job.SecretRef{Secret: "hook"}, Headers: map[string]string{"X-Team": "db"}}}
	answer, err := s.Send(context.Background(), r, failure())
	if err != nil || answer != "200 OK taken" {
		t.Fatalf("%q %v", answer, err)
	}
	if got.Get(HeaderSignature) != Sign("s3cret-key", got.Get(HeaderTimestamp), body) || got.Get(HeaderTimestamp) != strconv.FormatInt(epoch.Unix(), 10) {
		t.Errorf("the signature is %q", got.Get(HeaderSignature))
	}
	if Sign("s3cret-key", got.Get(HeaderTimestamp), append(body, ' ')) == got.Get(HeaderSignature) {
		t.Error("another body has the same signature")
	}
	var m Message
	if err := json.Unmarshal(body, &m); err != nil || m.ID != "id1" || m.ID != got.Get(HeaderDelivery) || *m.ExitCode != 3 || got.Get("X-Team") != "db" {
		t.Errorf("%v %s", err, body)
	}
	if strings.Contains(string(body), "s3cret-key") { // ancestor 64
		t.Errorf("a secret is in the message: %s", body)
	}
}

func TestWhatAReceiverRefuses(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Retry-After", "77")
		http.Error(w, "slow down, "+r.URL.Path, http.StatusTooManyRequests)
	}))
	defer srv.Close()
	s := sender(t, map[string]string{"url": srv.URL + "/T0/very-secret", "away": srv.URL + "/away"})
	_, err := s.Send(context.Background(), &job.Receiver{Slack: &job.Slack{URL: job.TextOrSecret{Secret: "url"}}}, failure())
	if err == nil || strings.Contains(err.Error(), "very-secret") && strings.Contains(err.Error(), srv.URL) {
		t.Errorf("%v", err)
	}
	var later *Later
	if _, err = s.post(context.Background(), srv.URL, http.Header{}, nil); !errors.As(err, &later) || later.After != 77*time.Second {
		t.Errorf("%v", err)
	}
	if _, err := s.Send(context.Background(), &job.Receiver{Slack: &job.Slack{URL: job.TextOrSecret{Secret: "away"}}}, failure()); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("%v", err)
	}
	if _, err := s.Send(context.Background(), &job.Receiver{Slack: &job.Slack{URL: job.TextOrSecret{Secret: "none"}}}, failure()); job.CodeOf(err) != job.CodeNotFound || !strings.Contains(err.Error(), "on this master") {
		t.Errorf("%v", err)
	}
}

// Whoever may write receivers does not get to use the master's place in its network.
func TestAddressesThatAreNotPublic(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
	defer srv.Close()
	s := sender(t, nil)
	s.Allow = nil
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(srv.URL, "http://"))
	n, _ := strconv.Atoi(port)
	for _, r := range []*job.Receiver{
		{Webhook: &job.Webhook{URL: job.TextOrSecret{Text: srv.URL}}},
		{Webhook: &job.Webhook{URL: job.TextOrSecret{Text: "http://localhost:" + port}}},
		{Mail: &job.Mail{Server: host, Port: n, TLS: job.MailNoTLS, From: "a@example.com", To: job.Names{"b@example.com"}}},
	} {
		if _, err := s.Send(context.Background(), r, failure()); err == nil || !strings.Contains(err.Error(), "is not public") {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func TestSlack(t *testing.T) {
	t.Parallel()
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }))
	defer srv.Close()
	m := failure()
	m.Output = "```<!channel>"
	if _, err := sender(t, nil).Send(context.Background(), &job.Receiver{Slack: &job.Slack{URL: job.TextOrSecret{Text: srv.URL}}}, m); err != nil {
		t.Fatal(err)
	}
	var got struct{ Text string }
	if err := json.Unmarshal(body, &got); err != nil || !strings.Contains(got.Text, "default/bäckup failed on n1") || strings.Contains(got.Text, "<!channel>") || strings.Count(got.Text, "```") != 2 {
		t.Errorf("%v %q", err, got.Text)
	}
}

// mailbox is a server of mail with one user.
type mailbox struct {
	mu       sync.Mutex
	auth     bool // nobody may send without
	loggedIn int
	tls      int
	got      []string
}

func (b *mailbox) NewSession(c *smtp.Conn) (smtp.Session, error) {
	s := &session{box: b}
	if _, ok := c.TLSConnectionState(); ok {
		b.mu.Lock()
		b.tls++
		b.mu.Unlock()
	}
	return s, nil
}

type session struct {
	box *mailbox
	in  bool
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "rota" || password != "s3cret-key" {
			return smtp.ErrAuthFailed
		}
		s.in = true
		return nil
	}), nil
}
func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.box.auth && !s.in {
		return smtp.ErrAuthRequired
	}
	return nil
}
func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }
func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.got = append(s.box.got, string(b))
	if s.in {
		s.box.loggedIn++
	}
	return err
}

func (b *mailbox) serve(t *testing.T, conf *tls.Config, implicit bool) int {
	t.Helper()
	srv := smtp.NewServer(b)
	srv.Domain, srv.TLSConfig, srv.AllowInsecureAuth = "localhost", conf, false
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if implicit {
		l = tls.NewListener(l, conf)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return port
}

func TestMail(t *testing.T) {
	t.Parallel()
	https := httptest.NewTLSServer(nil) // for its certificate, which is that of 127.0.0.1
	defer https.Close()
	roots := x509.NewCertPool()
	roots.AddCert(https.Certificate())
	conf := &tls.Config{Certificates: https.TLS.Certificates, MinVersion: tls.VersionTLS12}
	s := sender(t, map[string]string{"smtp": "s3cret-key", "wrong": "nonsense"})
	s.Roots = roots
	for _, c := range []struct {
		name     string
		policy   job.MailTLS
		conf     *tls.Config
		implicit bool
		user     string
		secret   string
		ok       bool
	}{
		{"starttls and a password", "", conf, false, "rota", "smtp", true},
		{"tls from the first byte", job.MailOnlyTLS, conf, true, "rota", "smtp", true},
		{"no tls and no password", job.MailNoTLS, nil, false, "", "", true},
		{"a server without starttls is not spoken to in clear", "", nil, false, "", "", false},
		{"a wrong password", "", conf, false, "rota", "wrong", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			box := &mailbox{auth: c.user != ""}
			r := &job.Mail{Server: "127.0.0.1", Port: box.serve(t, c.conf, c.implicit), TLS: c.policy, User: c.user, From: "Rota <rota@example.com>", To: job.Names{"ops@example.com"}}
			if c.user != "" {
				r.Password = &job.SecretRef{Secret: c.secret}
			}
			m := failure()
			_, err := s.Send(context.Background(), &job.Receiver{Name: "ops", Mail: r}, m)
			if (err == nil) != c.ok {
				t.Fatalf("%v", err)
			}
			if err != nil {
				if len(box.got) != 0 || strings.Contains(err.Error(), "nonsense") {
					t.Errorf("%v %v", err, box.got)
				}
				return
			}
			if len(box.got) != 1 || c.user != "" && box.loggedIn != 1 || c.conf != nil && box.tls == 0 {
				t.Fatalf("%+v", box)
			}
			got, err := mail.ReadMessage(strings.NewReader(box.got[0]))
			if err != nil {
				t.Fatal(err)
			}
			if got.Header.Get("Message-Id") != "<id1@example.com>" || got.Header.Get("References") != "<th1@example.com>" || got.Header.Get("Auto-Submitted") != "auto-generated" {
				t.Errorf("%v", got.Header)
			}
			if at, err := got.Header.Date(); err != nil || !at.Equal(epoch) {
				t.Errorf("%v %v", at, err)
			}
			if !strings.HasPrefix(strings.ToLower(got.Header.Get("Content-Type")), "text/plain; charset=utf-8") {
				t.Errorf("%v", got.Header)
			}
		})
	}
}

// No name can begin another line of a header.
func TestHeadersCantBeInjected(t *testing.T) {
	t.Parallel()
	m := failure()
	m.Name, m.ID = "a\r\nBcc: x@example.com", "id"
	msg, err := mailOf(&job.Mail{From: "rota@example.com", To: job.Names{"ops@example.com"}}, m)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := msg.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	got, err := mail.ReadMessage(strings.NewReader(b.String()))
	if err != nil || got.Header.Get("Bcc") != "" {
		t.Errorf("%v\n%s", err, b.String())
	}
}
