// Package seed makes random tests repeatable: a test package that says
//
//	var _ = seed.Fix()
//
// draws the same each time, so that a commit gives the same result wherever and whenever it is tested.
//
//	ROTA_RANDOM=1 go test ./…    draws afresh, and says which seed it was
//	ROTA_SEED=n go test ./…      draws by that seed
//
// A test with a generator of its own takes it from [Rand].
package seed

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"

	_ "pgregory.net/rapid" // whose flag is set
)

// Of is the seed of this run of the tests; given tells that a person asked for it. It is never 0.
var Of = sync.OnceValues(func() (seed uint64, given bool) {
	if text := os.Getenv("ROTA_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			panic(fmt.Sprintf("ROTA_SEED=%s: want a number above 0", text))
		}
		return n, true
	}
	if Fresh() {
		return rand.Uint64N(1<<40) + 1, false
	}
	return 1, false
})

// Fresh tells whether each run of the tests draws otherwise.
func Fresh() bool { return os.Getenv("ROTA_RANDOM") != "" }

// Rand is a generator by the seed of this run and some numbers that tell it from others.
func Rand(salt ...uint64) *rand.Rand {
	a, _ := Of()
	b := uint64(0)
	for _, s := range salt {
		b = b*0x9e3779b97f4a7c15 + s + 1
	}
	return rand.New(rand.NewPCG(a, b))
}

// Fix sets the seed of package rapid. It is called before flags are read, so that -rapid.seed wins.
func Fix() bool {
	n, _ := Of()
	if err := flag.Set("rapid.seed", strconv.FormatUint(n, 10)); err != nil {
		panic(err)
	}
	if Fresh() {
		fmt.Fprintf(os.Stderr, "random tests: ROTA_SEED=%d\n", n)
	}
	return true
}
