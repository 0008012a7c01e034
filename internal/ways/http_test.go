package ways

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func asking(h job.HTTP) job.Exec { return job.Exec{Way: &job.Way{HTTP: &h}} }

func TestARequestSaysWhoseItIsAndItsAnswerIsTheOutput(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	url := serve(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		got, body = q, string(b)
		w.Header().Set("X-Answer", "yes")
		w.Header().Set("Set-Cookie", "session=cookie-value")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"rows": 3}`)
	})
	r := newRunner(t, Options{Allow: loopback})
	x := wait(t, start(t, r, asking(job.HTTP{
		Method: "PUT", URL: url + "/a?b=c", Headers: map[string]string{"X-Own": "1", "Host": "other.example"}, Body: "hello", ResultFrom: "body",
	})))
	if x.Outcome != job.Success || x.Reason != "" || x.ExitCode != nil || string(x.Result) != `{"rows": 3}` || x.Begin.IsZero() || x.End.Before(x.Begin) {
		t.Fatalf("%+v", x)
	}
	out := string(x.Output)
	for _, want := range []string{"HTTP/1.1 202 Accepted\n", "X-Answer: yes\n", "Set-Cookie: [not shown]\n", "\n\n{\"rows\": 3}"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "cookie-value") {
		t.Error("a cookie is shown")
	}
	if x.OutputBytes != int64(len(out)) || len(x.OutputParts) != 1 || x.OutputParts[0].Stream != job.Stdout {
		t.Errorf("%d bytes, %v", x.OutputBytes, x.OutputParts)
	}
	if got.Method != http.MethodPut || got.URL.String() != "/a?b=c" || body != "hello" || got.Header.Get("X-Own") != "1" || got.Host != "other.example" {
		t.Errorf("%+v %q", got, body)
	}
	for name, want := range map[string]string{
		"Rota-Run": "run1", "Rota-Task": "shop/hook", "Rota-Attempt": "2", "Rota-Instant": "2026-12-01T10:00:00Z", "Rota-Fence": "77",
		"Idempotency-Key": "run1",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}

func TestTheOutcomeOfARequest(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/500":
			w.WriteHeader(http.StatusInternalServerError)
		case "/302":
			http.Redirect(w, q, "/200", http.StatusFound)
			return
		case "/cut":
			w.Header().Set("Content-Length", "100")
		}
		fmt.Fprint(w, "all is well, not JSON")
	})
	r := newRunner(t, Options{Allow: loopback})
	for _, c := range []struct {
		h       job.HTTP
		outcome job.Outcome
		reason  string
	}{
		{job.HTTP{URL: "/200"}, job.Success, ""},
		{job.HTTP{URL: "/500"}, job.Failed, "the answer is 500 Internal Server Error, expected 200-299"},
		{job.HTTP{URL: "/500", Expect: "200,500"}, job.Success, ""},
		{job.HTTP{URL: "/200", Expect: "204"}, job.Failed, "expected 204"},
		{job.HTTP{URL: "/200", ExpectBody: "is (well|fine)"}, job.Success, ""},
		{job.HTTP{URL: "/200", ExpectBody: "^well"}, job.Failed, `does not match "^well"`},
		{job.HTTP{URL: "/302"}, job.Failed, "the answer is 302"},
		{job.HTTP{URL: "/302", FollowRedirects: 1}, job.Success, ""},
		{job.HTTP{URL: "/cut"}, job.Failed, "breaks off after 21 bytes"},
		{job.HTTP{URL: "/200", ResultFrom: "body"}, job.Success, ""},
	} {
		h := c.h
		h.URL = url + h.URL
		x := wait(t, start(t, r, asking(h)))
		if x.Outcome != c.outcome || !strings.Contains(x.Reason, c.reason) || (c.reason == "") != (x.Reason == "") {
			t.Errorf("%+v: %s %q", c.h, x.Outcome, x.Reason)
		}
		if c.h.ResultFrom != "" && x.ResultError != "the answer is not JSON" {
			t.Errorf("result error %q", x.ResultError)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if x := wait(t, start(t, r, asking(job.HTTP{URL: gone.URL}))); x.Outcome != job.Failed || !strings.Contains(x.Reason, "refused") {
		t.Errorf("nobody listens: %s %q", x.Outcome, x.Reason)
	}
}

// The addresses that matter, in every form that leads to them.
func TestOnlyPublicAddressesAreRequested(t *testing.T) {
	t.Parallel()
	for _, a := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
		"100.127.255.255", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
		"64:ff9b:1::a00:1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "100::1", "5f00::1",
	} {
		if err := checkAddr(netip.MustParseAddr(a), nil); job.CodeOf(err) != job.CodeForbidden {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, a := range []string{"1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450::1"} {
		if err := checkAddr(netip.MustParseAddr(a), nil); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	allowed, err := ParseNetworks([]string{"10.1.0.0/16", "fd00::/8", "192.168.7.7", "fe80::/10", "::ffff:172.16.0.0/112"})
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "fd12::1": true, "192.168.7.7": true, "192.168.7.8": false, "fe80::1%eth0": true,
		"172.16.9.9": true, "172.17.0.1": false, "127.0.0.1": false,
	} {
		if err := checkAddr(netip.MustParseAddr(a), allowed); (err == nil) != want {
			t.Errorf("%s: %v, want allowed: %v", a, err, want)
		}
	}
	for _, w := range []string{"", "10.0.0.0/33", "example.org", "::ffff:0:0/90"} {
		if _, err := ParseNetworks([]string{w}); err == nil {
			t.Errorf("%q is taken for a network", w)
		}
	}
}

// What is dialled is judged, whatever name led there, and nothing is sent.
func TestRequestsInwardsAreRefusedAfterResolution(t *testing.T) {
	t.Parallel()
	asked := 0
	url := serve(t, func(http.ResponseWriter, *http.Request) { asked++ })
	port := url[strings.LastIndex(url, ":"):]
	r := newRunner(t, Options{})
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "[::]"} {
		x := wait(t, start(t, r, asking(job.HTTP{URL: "http://" + host + port})))
		if x.Outcome != job.Failed || !strings.Contains(x.Reason, "is not public") || !strings.Contains(x.Reason, "--http-allow") {
			t.Errorf("%s: %s %q", host, x.Outcome, x.Reason)
		}
	}
	if asked > 0 {
		t.Errorf("%d requests arrived", asked)
	}
}

// The environment's proxy would dial on our behalf, to where nobody judged it.
func TestTheProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	asked := 0
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { asked++ })
	for _, v := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(v, proxy)
	}
	r := newRunner(t, Options{Allow: loopback})
	e := asking(job.HTTP{URL: "http://192.168.255.1:9/"})
	if x := wait(t, start(t, r, e)); x.Outcome != job.Failed || asked != 0 {
		t.Errorf("%s, the proxy was asked %d times", x.Reason, asked)
	}
}

// A redirect is judged like the first request, and neither the secret nor what the task wrote goes with it to another origin.
func TestRedirectsAreJudged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []http.Header
	other := serve(t, func(_ http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, q.Header)
	})
	target := other
	origin := serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/there" {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, q.Header)
			return
		}
		http.Redirect(w, q, target, http.StatusTemporaryRedirect)
	})
	r := newRunner(t, Options{Allow: loopback[:1], Secrets: newSecrets(t, map[string]string{"token": "s3cr3t-t0ken"})})
	for _, header := range []string{"", "X-Api-Key"} {
		h := job.HTTP{URL: origin, FollowRedirects: 2, Headers: map[string]string{"X-Own": "1"}, Auth: &job.HTTPAuth{Secret: "token", Header: header}}
		if x := wait(t, start(t, r, asking(h))); x.Outcome != job.Success || !strings.Contains(string(x.Output), "redirected to "+other) {
			t.Fatalf("%s %q %s", x.Outcome, x.Reason, x.Output)
		}
		got := seen[len(seen)-1]
		if got.Get("Authorization") != "" || got.Get("X-Api-Key") != "" || got.Get("X-Own") != "" || got.Get("Rota-Run") != "run1" || got.Get("Referer") != "" {
			t.Errorf("another origin was sent %v", got)
		}
	}
	target = "/there"
	if x := wait(t, start(t, r, asking(job.HTTP{URL: origin, FollowRedirects: 1, Auth: &job.HTTPAuth{Secret: "token"}}))); x.Outcome != job.Success ||
		seen[len(seen)-1].Get("Authorization") != "Bearer s3cr3t-t0ken" {
		t.Errorf("%s, the same origin was sent %v", x.Reason, seen[len(seen)-1])
	}
	for inward, want := range map[string]string{
		"http://10.0.0.1/": "not public", "http://[::1]:1/": "not public", "http://169.254.169.254/latest/meta-data": "not public",
		"file:///etc/passwd": "unsupported protocol", "http://u:p@127.0.0.1/": "credentials",
	} {
		target = inward
		if x := wait(t, start(t, r, asking(job.HTTP{URL: origin, FollowRedirects: 1}))); x.Outcome != job.Failed || !strings.Contains(x.Reason, want) {
			t.Errorf("to %s: %s %q", inward, x.Outcome, x.Reason)
		}
	}
}

// ancestor 57
// ancestor 64
func TestASecretReachesTheServerAndNobodyElse(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry/+\"v4lue"
	url := serve(t, func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := q.BasicAuth()
		w.Header().Set("X-Echo", q.Header.Get("Authorization")+q.Header.Get("X-Key"))
		w.WriteHeader(http.StatusTeapot)
		for _, piece := range []string{"you sent " + canary[:5], canary[5:] + " ", q.Header.Get("Authorization"), user, password} {
			fmt.Fprint(w, piece)
			w.(http.Flusher).Flush()
		}
	})
	r := newRunner(t, Options{Allow: loopback, Secrets: newSecrets(t, map[string]string{"api": canary + "\n"})})
	for _, auth := range []job.HTTPAuth{{Secret: "api"}, {Secret: "api", User: "bob"}, {Secret: "api", Header: "X-Key"}} {
		x := wait(t, start(t, r, asking(job.HTTP{URL: url, Auth: &auth, ResultFrom: "body"})))
		if x.Outcome != job.Failed || !strings.Contains(x.Reason, "418") {
			t.Errorf("%+v", x)
		}
		all := fmt.Sprintf("%s %s %s %s", x.Output, x.Reason, x.Result, x.ResultError)
		if strings.Contains(all, canary) || strings.Contains(all, "Ym9iOm") || !strings.Contains(all, "you sent [secret] ") || !strings.Contains(all, "X-Echo: ") {
			t.Errorf("%+v: %s", auth, all)
		}
	}
	_, err := r.Start(t.Context(), asking(job.HTTP{URL: url, Auth: &job.HTTPAuth{Secret: "nope"}}))
	if job.CodeOf(err) != job.CodeNotFound || !strings.Contains(err.Error(), "/nope does not exist") || !strings.Contains(err.Error(), "install -m 600") {
		t.Errorf("a missing secret: %v", err)
	}
}

func TestARequestIsKilledAndTimesOut(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 2)
	cancelled := make(chan struct{}, 2)
	url := serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.(http.Flusher).Flush()
		arrived <- struct{}{}
		<-q.Context().Done()
		cancelled <- struct{}{}
	})
	r := newRunner(t, Options{Allow: loopback})
	x := start(t, r, asking(job.HTTP{URL: url}))
	<-arrived
	x.Kill("ann")
	x.Kill("bob")
	if got := wait(t, x); got.Outcome != job.Killed || got.Reason != "killed by ann" || got.EndedBy != job.EndedByKill {
		t.Errorf("%+v", got)
	}
	<-cancelled
	e := asking(job.HTTP{URL: url})
	e.Timeout = time.Millisecond
	if got := wait(t, start(t, r, e)); got.Outcome != job.Timeout || !strings.HasPrefix(got.Reason, "timeout after 1ms") {
		t.Errorf("%+v", got)
	}
}

func TestALargeAnswerIsBounded(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 99) + "\n"
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 10_000 {
			fmt.Fprint(w, line)
		}
		fmt.Fprint(w, "the end")
	})
	logs, err := runlog.Open(runlog.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, Options{Allow: loopback, Logs: logs})
	e := asking(job.HTTP{URL: url, ResultFrom: "body"})
	e.OutputLimit = 1000
	x := wait(t, start(t, r, e))
	if x.Outcome != job.Success || !x.OutputTruncated || x.OutputBytes < 1_000_007 || len(x.Output) > 1100 || !strings.HasPrefix(string(x.Output), "HTTP/1.1 200 OK\n") ||
		!strings.HasSuffix(string(x.Output), "the end") || !strings.Contains(string(x.Output), "bytes left out ...]\n") || !strings.Contains(x.ResultError, "at most") {
		t.Errorf("%d bytes of %d, %s, %q: %s", len(x.Output), x.OutputBytes, x.Outcome, x.ResultError, x.Output)
	}
	reader, err := logs.Reader(runlog.ID{Run: "run1", Attempt: 2}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var all int64
	for {
		c, err := reader.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all += int64(len(c.Data))
	}
	if all != x.OutputBytes {
		t.Errorf("the log has %d bytes of %d", all, x.OutputBytes)
	}
}

func TestTLSOfRequests(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "private") }))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	for _, c := range []struct {
		name   string
		tls    *job.HTTPTLS
		reason string // "": success
	}{
		{"an authority that nobody knows", nil, "certificate signed by unknown authority"},
		{"the authority", &job.HTTPTLS{CA: ca}, ""},
		{"another name", &job.HTTPTLS{CA: ca, ServerName: "elsewhere.example"}, "certificate is valid for"},
		{"any certificate", &job.HTTPTLS{InsecureSkipVerify: true}, ""},
	} {
		r := newRunner(t, Options{Allow: loopback, AllowInsecureTLS: true, roots: x509.NewCertPool()})
		x := wait(t, start(t, r, asking(job.HTTP{URL: s.URL, TLS: c.tls})))
		if (x.Outcome == job.Success) != (c.reason == "") || !strings.Contains(x.Reason, c.reason) {
			t.Errorf("%s: %s %q", c.name, x.Outcome, x.Reason)
		}
	}
	r := newRunner(t, Options{Allow: loopback})
	if _, err := r.Start(t.Context(), asking(job.HTTP{URL: s.URL, TLS: &job.HTTPTLS{InsecureSkipVerify: true}})); job.CodeOf(err) != job.CodeForbidden {
		t.Errorf("the node did not consent: %v", err)
	}
	if _, err := r.Start(t.Context(), asking(job.HTTP{URL: s.URL, TLS: &job.HTTPTLS{CA: "/nowhere.pem"}})); err == nil || !strings.Contains(err.Error(), "/nowhere.pem") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// certificate is a certificate that an authority signed, or itself where there is none, and its key in PEM.
func certificate(t *testing.T, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: ca == nil, BasicConstraintsValid: true,
	}
	if ca == nil {
		ca, caKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return c, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// A server that wants to know who asks gets the task's certificate, whose key is a secret of the node, and no other is let in.
func TestCertificatesOfRequests(t *testing.T) {
	t.Parallel()
	authority, authorityKey, _, _ := certificate(t, "authority", nil, nil)
	_, _, cert, key := certificate(t, "node-7", authority, authorityKey)
	_, _, foreign, foreignKey := certificate(t, "mallory", nil, nil)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, "hello ", q.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	s.TLS.ClientCAs.AddCert(authority)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	file := filepath.Join(t.TempDir(), "node.pem")
	if err := os.WriteFile(file, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, Options{Allow: loopback, Secrets: newSecrets(t, map[string]string{"key": key, "foreign": foreignKey, "text": "no key"})})
	for _, c := range []struct{ name, cert, key, want, reason string }{
		{"in the task", cert, "key", "hello node-7", ""},
		{"in a file of the node", file, "key", "hello node-7", ""},
		{"of another authority", foreign, "foreign", "", "tls: "},
		{"none", "", "", "", "tls: "},
		{"another's key", cert, "foreign", "", "do not make a certificate with its key"},
		{"no key", cert, "text", "", "do not make a certificate with its key"},
		{"a secret that is not there", cert, "missing", "", "missing does not exist"},
	} {
		h := job.HTTP{URL: s.URL, TLS: &job.HTTPTLS{CA: ca, Cert: c.cert}}
		if c.key != "" {
			h.TLS.Key = &job.SecretRef{Secret: c.key}
		}
		e := asking(h)
		e.Run, e.Attempt = "run1", 1
		x, err := r.Start(t.Context(), e)
		if err != nil {
			if c.reason == "" || !strings.Contains(err.Error(), c.reason) || strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		got := wait(t, x)
		if (got.Outcome == job.Success) != (c.reason == "") || !strings.Contains(got.Reason, c.reason) || !strings.Contains(string(got.Output), c.want) {
			t.Errorf("%s: %s %q\n%s", c.name, got.Outcome, got.Reason, got.Output)
		}
	}
}
