package job

import (
	"slices"
	"time"
)

// StatsBy says how statistics are divided.
type StatsBy string

// The divisions.
const (
	ByNothing StatsBy = ""
	ByDay     StatsBy = "day"
	ByNode    StatsBy = "node"
	ByTask    StatsBy = "task"
)

// StatsBys are all of them but the lack of one.
var StatsBys = []StatsBy{ByDay, ByNode, ByTask}

// Valid tells whether b is a division, or none.
func (b StatsBy) Valid() bool { return b == ByNothing || slices.Contains(StatsBys, b) }

// StatsFilter selects what statistics are about. Zero fields select everything. Statistics are kept by days in UTC:
// a day is in them when any of its moments is.
type StatsFilter struct {
	Group string
	Task  string // the name, within Group or in any
	Node  NodeID
	From  time.Time
	To    time.Time // exclusive
	By    StatsBy
}

// Stats sums up records. Durations are those of runs that succeeded: of the others nobody can say how long
// they would have taken.
type Stats struct {
	Day  time.Time `json:"day,omitzero"` // its beginning, in UTC; by day alone
	Node *NodeID   `json:"node,omitempty"`
	Task string    `json:"task,omitempty"` // group/name; by task alone

	Count map[Outcome]int64 `json:"count"` // of the outcomes that occurred
	// Success is the part of the records that succeeded, of all but the skipped ones, from 0 to 1; absent where
	// there are none.
	Success   *float64 `json:"success,omitempty"`
	AverageMS int64    `json:"average_ms"`
	TotalMS   int64    `json:"total_ms"`
	MaxMS     int64    `json:"max_ms"`
	// The percentiles are within 5 % of the true ones.
	P50MS float64 `json:"p50_ms"`
	P90MS float64 `json:"p90_ms"`
	P99MS float64 `json:"p99_ms"`
}

// Rate is the part of records that succeeded, of all but the skipped ones; false where there are none.
func Rate(count map[Outcome]int64) (float64, bool) {
	var all int64
	for o, n := range count {
		if o != Skipped {
			all += n
		}
	}
	if all == 0 {
		return 0, false
	}
	return float64(count[Success]) / float64(all), true
}
