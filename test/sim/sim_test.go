package sim

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestOne(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	sc := draw(seed)
	t.Log(sc)
	out := play(t, sc, "")
	t.Logf("virtual %s, real %s, %d starts, %d records", out.virtual, out.real, out.starts, out.records)
	for i, v := range out.wrong {
		t.Error(v)
		if i == 0 {
			t.Log("\n" + out.seen.story(v, 150))
		}
	}
}

func TestMany(t *testing.T) {
	from, _ := strconv.ParseUint(os.Getenv("FROM"), 10, 64)
	n, _ := strconv.ParseUint(os.Getenv("N"), 10, 64)
	for seed := from; seed < from+n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			out := play(t, draw(seed), "")
			for i, v := range out.wrong {
				if i < 3 {
					t.Error(v)
				}
			}
		})
	}
}
