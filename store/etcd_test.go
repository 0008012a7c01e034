package store

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

func TestOpenSaysWhyEtcdIsNotThere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		endpoint string
		code     job.Code
		want     string
	}{
		{"http://127.0.0.1:1", job.CodeUnavailable, "etcd does not answer at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; check the addresses"},
		{"unix:///nowhere/etcd.sock", job.CodeUnavailable, "etcd does not answer at unix:///nowhere/etcd.sock: "},
		{"db1", job.CodeInvalid, `"db1" is not the address of an etcd; write it as http://HOST:2379`},
		{"http://db1", job.CodeInvalid, `"http://db1" is not the address of an etcd`},
		{"ftp://db1:2379", job.CodeInvalid, "not the address"},
		{"http://db1:2379/v2", job.CodeInvalid, "not the address"},
		{"", job.CodeInvalid, "not the address"},
	} {
		var out syncBuffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		_, err := Open(t.Context(), Options{Endpoints: []string{c.endpoint}, Logger: log})
		if job.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "rpc error") {
			t.Errorf("%q: %v", c.endpoint, err)
		}
		if out.String() != "" {
			t.Errorf("the error says it all: %s", out.String())
		}
	}
	for _, endpoint := range []string{"db1:2379", "[::1]:2379", "https://db1:2379/", "unix:///run/etcd.sock"} {
		if err := checkEndpoint(endpoint); err != nil {
			t.Error(err)
		}
	}
}
