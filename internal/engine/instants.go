package engine

import (
	"maps"
	"slices"
	"time"
)

// claimInstants lists the claimed instants in order.
func claimInstants(a *account) []time.Time {
	return slices.SortedFunc(maps.Keys(a.claims), time.Time.Compare)
}

// mergeInstants joins two ordered lists into one without repetition, leaving out what is not above the floor.
// Where the first list was cut short, nothing beyond its end is taken from the second.
func mergeInstants(list, claims []time.Time, floor time.Time, cut bool) []time.Time {
	all := slices.Clone(list)
	for _, c := range claims {
		if c.After(floor) && (!cut || !c.After(list[len(list)-1])) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.CompactFunc(all, time.Time.Equal)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
