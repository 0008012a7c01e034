package schedule

import "math/bits"

// firstYear and lastYear bound the year field.
const firstYear, lastYear = 1970, 2199

// bitset is a set of numbers from 0 to 255, large enough for the widest field, the years.
type bitset [4]uint64

func (b *bitset) add(n int)      { b[n>>6] |= 1 << (n & 63) }
func (b *bitset) has(n int) bool { return n >= 0 && n < 256 && b[n>>6]>>(n&63)&1 != 0 }
func (b *bitset) empty() bool    { return b[0]|b[1]|b[2]|b[3] == 0 }

func (b *bitset) first() int {
	for i, word := range b {
		if word != 0 {
			return i*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

func (b *bitset) last() int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return i*64 + bits.Len64(b[i]) - 1
		}
	}
	return -1
}

func (b *bitset) count() int {
	n := 0
	for _, word := range b {
		n += bits.OnesCount64(word)
	}
	return n
}

// values lists the members in order.
func (b *bitset) values() []int {
	list := make([]int, 0, b.count())
	for i, word := range b {
		for ; word != 0; word &= word - 1 {
			list = append(list, i*64+bits.TrailingZeros64(word))
		}
	}
	return list
}
