package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// Bounds of one call of a master.
const (
	callConnect = 3 * time.Second
	callAnswer  = 40 * time.Second // a master may let a call wait for somebody who wants more
	maxAnswer   = 64 << 10
)

// caller calls the master that asked for a log.
type caller struct {
	f    *job.Follow
	http *http.Client
	url  int // which of the addresses is tried
}

func newCaller(f *job.Follow) caller {
	t := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: callConnect}).DialContext,
		TLSHandshakeTimeout:   callConnect,
		ResponseHeaderTimeout: callAnswer,
		MaxIdleConnsPerHost:   1,
		DisableCompression:    true,
		TLSClientConfig:       pinned(f.Pin),
	}
	return caller{f: f, http: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// pinned accepts the one certificate that the master has named in etcd, whoever signed it, and no other one.
func pinned(pin string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if pin == "" {
		return c
	}
	c.InsecureSkipVerify = true // its own check is below, and is stricter
	c.VerifyConnection = func(s tls.ConnectionState) error {
		sum := sha256.Sum256(s.PeerCertificates[0].Raw)
		if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(pin)) != 1 {
			return errors.New("the certificate is not that of the master that asks for the log")
		}
		return nil
	}
	return c
}

// call sends a batch and returns what is wanted next. After a failure the next call tries the next address.
func (c *caller) call(ctx context.Context, b *job.LogBatch) (w job.LogWanted, err error) {
	if len(c.f.URLs) == 0 {
		return w, job.Errorf(job.CodeUnavailable, "master %s tells no address", c.f.Master).WithHint("start it with --listen, or --advertise")
	}
	base := c.f.URLs[c.url%len(c.f.URLs)]
	defer func() {
		if err != nil {
			c.url++
			err = fmt.Errorf("call %s: %w", base, err)
		}
	}()
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return w, job.Errorf(job.CodeInvalid, "it is no address of a master")
	}
	body, err := json.Marshal(b)
	if err != nil {
		return w, err
	}
	ctx, cancel := context.WithTimeout(ctx, callConnect+callAnswer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+job.LogPath+url.PathEscape(c.f.ID), bytes.NewReader(body))
	if err != nil {
		return w, err
	}
	req.Header.Set("Authorization", "Bearer "+c.f.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return w, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return w, err
	}
	if resp.StatusCode != http.StatusOK {
		return w, fmt.Errorf("it answers %s", resp.Status)
	}
	return w, json.Unmarshal(answer, &w)
}

// hangUp lets go of the connection.
func (c *caller) hangUp() { c.http.CloseIdleConnections() }
