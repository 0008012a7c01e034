package job

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// Rank is the weight of a node for a key by rendezvous hashing; the heaviest goes first.
func Rank(key string, id NodeID) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write([]byte(id))
	x := h.Sum64() // FNV alone leaves the high bits of similar names alike: finish as splitmix64 does
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// CompareRank orders nodes for a key by rendezvous hashing: who comes first goes first, and the order of the
// others does not change when one comes or goes.
func CompareRank(key string, a, b NodeID) int {
	return cmp.Or(cmp.Compare(Rank(key, b), Rank(key, a)), cmp.Compare(a, b))
}

// RankOf is the place of a node, from 0, among the candidates for a key. Who is not among them
// comes after all of them.
func RankOf(key string, candidates []NodeID, id NodeID) int {
	if !slices.Contains(candidates, id) {
		return len(candidates)
	}
	place := 0
	for _, c := range candidates {
		if CompareRank(key, c, id) < 0 {
			place++
		}
	}
	return place
}
