package history

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/rota-dev/rota/job"
)

// A summary is what is kept of the records of a day: how many had each outcome, and how long the runs that
// succeeded took. Nothing supersedes a success, so durations are only ever added, and a correction is a count
// that goes from one outcome to another.
type summary struct {
	counts       [len(outcomes)]int64
	sumUS, maxUS int64
	buckets      map[int]int64 // durations by bucketOf
}

// bucketGrowth is by how much each bucket is wider than the one before it: a value within it is no more than 4.8 %
// away from its representative.
const bucketGrowth = 1.1

var logGrowth = math.Log(bucketGrowth)

// bucketOf is the bucket of a duration: 0 below a microsecond, else i for those in (1.1^(i-2), 1.1^(i-1)] µs.
func bucketOf(us int64) int {
	if us < 1 {
		return 0
	}
	return int(math.Ceil(math.Log(float64(us))/logGrowth-1e-9)) + 1
}

// representative is the duration, in microseconds, that stands for those of a bucket: it is wrong by the same part at
// both ends.
func representative(bucket int) float64 {
	if bucket == 0 {
		return 0
	}
	return math.Pow(bucketGrowth, float64(bucket-1)) * 2 / (1 + bucketGrowth)
}

// add counts a record.
func (s *summary) add(o job.Outcome, us int64) {
	s.counts[outcomeNumber(o)-1]++
	if o != job.Success {
		return
	}
	s.sumUS += us
	s.maxUS = max(s.maxUS, us)
	if s.buckets == nil {
		s.buckets = make(map[int]int64)
	}
	s.buckets[bucketOf(us)]++
}

// drop takes back a record that was superseded. It was no success.
func (s *summary) drop(o job.Outcome) { s.counts[outcomeNumber(o)-1]-- }

// merge adds another summary.
func (s *summary) merge(o *summary) {
	for i, n := range o.counts {
		s.counts[i] += n
	}
	s.sumUS += o.sumUS
	s.maxUS = max(s.maxUS, o.maxUS)
	if s.buckets == nil && len(o.buckets) > 0 {
		s.buckets = make(map[int]int64, len(o.buckets))
	}
	for b, n := range o.buckets {
		s.buckets[b] += n
	}
}

// percentile is the duration, in microseconds, that a part q of the runs did not exceed: that of the run of that rank.
func (s *summary) percentile(q float64) float64 {
	var all int64
	keys := make([]int, 0, len(s.buckets))
	for b, n := range s.buckets {
		keys = append(keys, b)
		all += n
	}
	slices.Sort(keys)
	rank := max(int64(math.Ceil(q*float64(all))), 1)
	for _, b := range keys {
		if rank -= s.buckets[b]; rank <= 0 {
			return min(representative(b), float64(s.maxUS))
		}
	}
	return 0
}

// stats is the summary as people see it.
func (s *summary) stats() job.Stats {
	st := job.Stats{Count: make(map[job.Outcome]int64), TotalMS: s.sumUS / 1000, MaxMS: s.maxUS / 1000}
	for i, n := range s.counts {
		if n != 0 {
			st.Count[outcomes[i]] = n
		}
	}
	if rate, ok := job.Rate(st.Count); ok {
		st.Success = &rate
	}
	if n := st.Count[job.Success]; n > 0 {
		st.AverageMS = s.sumUS / n / 1000
		st.P50MS, st.P90MS, st.P99MS = milli(s.percentile(0.5)), milli(s.percentile(0.9)), milli(s.percentile(0.99))
	}
	return st
}

// milli is a duration in microseconds as milliseconds, to the microsecond.
func milli(us float64) float64 { return math.Round(us) / 1000 }

const summaryVersion = 1

// encode writes a summary: a version, the counts, sum, maximum, and pairs of a bucket's distance from the one before
// and its count, all as varints. It takes some 20 to 60 bytes.
func (s *summary) encode() []byte {
	b := make([]byte, 1, 64)
	b[0] = summaryVersion
	for _, n := range s.counts {
		b = binary.AppendVarint(b, n)
	}
	b = binary.AppendVarint(b, s.sumUS)
	b = binary.AppendVarint(b, s.maxUS)
	keys := make([]int, 0, len(s.buckets))
	for k := range s.buckets {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	last := 0
	for _, k := range keys {
		b = binary.AppendUvarint(b, uint64(k-last))
		b = binary.AppendVarint(b, s.buckets[k])
		last = k
	}
	return b
}

var errSummary = errors.New("a summary of records can't be read")

// decode adds what encode wrote to s.
func (s *summary) decode(b []byte) error {
	if len(b) == 0 || b[0] != summaryVersion {
		return errSummary
	}
	b = b[1:]
	var o summary
	next := func() (v int64) {
		v, n := binary.Varint(b)
		b = b[max(n, 0):]
		if n <= 0 {
			b = nil
		}
		return v
	}
	for i := range o.counts {
		o.counts[i] = next()
	}
	o.sumUS = next()
	if len(b) == 0 {
		return errSummary
	}
	o.maxUS = next()
	if s.buckets == nil && len(b) > 0 {
		s.buckets = make(map[int]int64)
	}
	for at := 0; len(b) > 0; {
		step, n := binary.Uvarint(b)
		if n <= 0 || n == len(b) {
			return errSummary
		}
		b = b[n:]
		at += int(step)
		s.buckets[at] += next()
	}
	s.merge(&o)
	return nil
}
