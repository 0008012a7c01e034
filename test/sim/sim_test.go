package sim

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

func TestOne(t *testing.T) {
	name := os.Getenv("ROTA_SIM")
	sc, err := named(name)
	if err != nil {
		t.Fatal(err)
	}
	out := play(t, sc, "")
	if len(out.wrong) == 0 {
		t.Skip("nothing")
	}
	if os.Getenv("SHRINK") != "" {
		promise := out.wrong[0].promise
		small, o, tries := shrink(t, sc, "", promise, 60*time.Second)
		t.Logf("%d tries", tries)
		if o.wrong != nil {
			sc, out = small, o
		}
	}
	t.Log(sc)
	t.Log(sc.name())
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
