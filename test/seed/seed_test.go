package seed_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// TestDrawn prints what a property and a generator draw.
func TestDrawn(t *testing.T) {
	if os.Getenv("ROTA_SEED_DRAWN") == "" {
		t.Skip("run by the other test")
	}
	list := []uint64{seed.Rand(1).Uint64(), seed.Rand(2).Uint64()}
	rapid.Check(t, func(t *rapid.T) { list = append(list, rapid.Uint64().Draw(t, "n")) })
	t.Log("drawn:", list)
}

// Two runs draw the same, another seed something else, and so do two runs that ask for it.
func TestRepeatable(t *testing.T) {
	t.Parallel()
	run := func(env ...string) string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDrawn$", "-test.v")
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, "ROTA_") {
				cmd.Env = append(cmd.Env, e)
			}
		}
		cmd.Env = append(append(cmd.Env, "ROTA_SEED_DRAWN=1"), env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, list, _ := strings.Cut(string(out), "drawn: [")
		list, _, ok := strings.Cut(list, "]")
		if !ok || len(list) < 100 {
			t.Fatalf("%s", out)
		}
		return list
	}
	one := run()
	if run() != one {
		t.Error("two runs draw differently")
	}
	if seven := run("ROTA_SEED=7"); seven == one || run("ROTA_SEED=7") != seven {
		t.Error("a seed that is given does not count")
	}
	if fresh := run("ROTA_RANDOM=1"); run("ROTA_RANDOM=1") == fresh {
		t.Error("two runs that are to draw afresh draw the same")
	}
}
