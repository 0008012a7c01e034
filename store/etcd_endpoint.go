package store

import (
	"net"
	"net/url"
	"strings"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap/zapcore"

	"github.com/rota-dev/rota/job"
)

// checkEndpoint refuses what can't be the address of an etcd, before anybody waits for it.
func checkEndpoint(e string) error {
	wrong := func() error {
		return job.Errorf(job.CodeInvalid, "%q is not the address of an etcd", e).WithHint("write it as http://HOST:2379 or https://HOST:2379")
	}
	scheme, rest, ok := strings.Cut(e, "://")
	if !ok {
		rest = e // HOST:PORT, as etcd takes it too
	}
	switch scheme {
	case "unix", "unixs":
		if rest == "" {
			return wrong()
		}
		return nil
	case "http", "https":
		u, err := url.Parse(e)
		if err != nil || u.Path != "" && u.Path != "/" {
			return wrong()
		}
		rest = u.Host
	default:
		if ok {
			return wrong()
		}
	}
	if host, port, err := net.SplitHostPort(rest); err != nil || host == "" || port == "" {
		return wrong()
	}
	return nil
}

// said is an error of gRPC without its frame, which says nothing to people.
type said struct{ error }

func (e said) Unwrap() error { return e.error }

func (e said) Error() string {
	text := rpctypes.ErrorDesc(e.error)
	for _, frame := range []string{"connection error: desc = ", "transport: ", "Error while dialing: ", "authentication handshake failed: "} {
		text = strings.Trim(strings.TrimPrefix(text, frame), `"`)
	}
	return text
}

// heldCore keeps a log's messages back until it is open.
type heldCore struct {
	zapcore.Core
	open *atomic.Bool
}

func (c *heldCore) With(fields []zapcore.Field) zapcore.Core {
	return &heldCore{Core: c.Core.With(fields), open: c.open}
}

func (c *heldCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.open.Load() {
		return ce
	}
	return c.Core.Check(e, ce)
}
