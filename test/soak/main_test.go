//go:build linux

package soak

import (
	"os"
	"testing"

	"github.com/rota-dev/rota/test/harness"
)

// Programs under test, built once.
var rotaBin, etcdBin string

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &rotaBin, &etcdBin)) }
