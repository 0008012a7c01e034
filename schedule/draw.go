package schedule

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Jitter gives a delay in [0, max) that depends on nothing but its arguments, so that every node, before and after a restart,
// delays an instant of a task alike. It is 0 if max is not positive.
func Jitter(seed string, instant time.Time, max time.Duration) time.Duration {
	if max <= 0 {
		return 0
	}
	h := hash(seed, "jitter")
	h = mix(h ^ uint64(instant.Unix()))
	h = mix(h ^ uint64(instant.Nanosecond()))
	scaled, _ := bits.Mul64(h, uint64(max))
	return time.Duration(scaled)
}

// draw gives a number in [0, n) that is fixed by seed and use.
func draw(seed, use string, n int) int {
	scaled, _ := bits.Mul64(hash(seed, use), uint64(n))
	return int(scaled)
}

// hash is FNV-1a over both strings, mixed, since the strings that come here differ in their last letters only. It must never
// change: schedules that were drawn would move.
func hash(seed, use string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(seed) {
		h = (h ^ uint64(seed[i])) * prime
	}
	h = mix(h)
	for i := range len(use) {
		h = (h ^ uint64(use[i])) * prime
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// hashed reads "H", "H/n", "H(a-b)" or "H(a-b)/n": a value, or a phase of the steps, drawn from the seed.
func (f *fieldParser) hashed(from, to int) {
	low, high, pos := f.min, f.last(), from+1
	if f.kind == fieldDom {
		high = 28 // a day that every month has
	}
	if pos < to && f.expr[pos] == '(' {
		closing := strings.IndexByte(f.expr[pos:to], ')')
		dash := strings.IndexByte(f.expr[pos:to], '-')
		if closing < 0 || dash < 0 || dash > closing {
			f.fail(f.name, from, to-from, "H, H/15, H(0-29) or H(0-29)/10", "")
			return
		}
		var lowOK, highOK bool
		low, _, lowOK = f.value(pos+1, pos+dash)
		high, _, highOK = f.value(pos+dash+1, pos+closing)
		if !lowOK || !highOK {
			return
		}
		if low > high {
			f.fail(f.name, pos+1, closing-1, "a range that does not wrap around", "")
			return
		}
		pos += closing + 1
	}
	step, ok := f.step(pos, to)
	if !ok {
		return
	}
	if pos == to {
		v := low + draw(f.options.Seed, f.name, high-low+1)
		f.fill(v, v, 1)
		return
	}
	f.fill(low+draw(f.options.Seed, f.name, min(step, high-low+1)), high, step)
}

// random reads "a~b", of which either end may be missing: one value drawn from the seed.
func (f *fieldParser) random(from, to, item int) {
	tilde := from + strings.IndexByte(f.expr[from:to], '~')
	low, high, lowOK, highOK := f.min, f.last(), true, true
	if strings.Contains(f.expr[tilde:to], "/") {
		f.fail(f.name, from, to-from, "a value drawn from a range, such as 0~29", "write steps with a drawn start as H(0-29)/10")
		return
	}
	if from < tilde {
		low, _, lowOK = f.value(from, tilde)
	}
	if tilde+1 < to {
		high, _, highOK = f.value(tilde+1, to)
	}
	if !lowOK || !highOK {
		return
	}
	if low > high {
		f.fail(f.name, from, to-from, "a range that does not wrap around", "")
		return
	}
	v := low + draw(f.options.Seed, f.name+"~"+strconv.Itoa(item), high-low+1)
	f.fill(v, v, 1)
}
