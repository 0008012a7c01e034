//go:build linux

package soak

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rota-dev/rota/test/harness"
)

// Programs under test, built once.
var rotaBin, etcdBin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rota-soak-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	rotaBin, etcdBin = filepath.Join(dir, "rota"), filepath.Join(dir, "etcd")
	for bin, pkg := range map[string]string{rotaBin: "github.com/rota-dev/rota/cmd/rota", etcdBin: "go.etcd.io/etcd/server/v3"} {
		if err := harness.Build(bin, pkg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}
