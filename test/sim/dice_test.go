package sim

import (
	"strconv"
	"time"
)

// dice answer each question with chance, and the same question always alike.
type dice uint64

// draw is a number by the seed and the words of the question.
func (d dice) draw(words ...string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset) ^ uint64(d)*0x9e3779b97f4a7c15
	for _, w := range words {
		for i := range len(w) {
			h = (h ^ uint64(w[i])) * prime
		}
		h = (h ^ 0xff) * prime
	}
	h ^= h >> 33 // what differs at the end of the words must tell in every bit
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// n is a number below most.
func (d dice) n(most int, words ...string) int { return int(d.draw(words...) % uint64(most)) }

func (d dice) chance(p float64, words ...string) bool {
	return float64(d.draw(words...)>>11)/(1<<53) < p
}

// between is a time of whole nanoseconds, so that hardly two of them are equal.
func (d dice) between(from, to time.Duration, words ...string) time.Duration {
	return from + time.Duration(d.draw(words...)%uint64(to-from))
}

func pick[T any](d dice, of []T, words ...string) T { return of[d.n(len(of), words...)] }

// of are dice for a part of the whole.
func (d dice) of(part string, i int) dice { return dice(d.draw(part, strconv.Itoa(i))) }
