package job

import (
	"cmp"
	"strconv"
	"strings"
)

// Follow asks a node to send the log of a run to a master. It stands under the master's lease, below the node's own prefix: nodes need
// no listening port, they call out. It says nothing of how far the master has come, which the master tells when it is called.
type Follow struct {
	ID     string `json:"id"`
	Node   NodeID `json:"node"`
	Run    RunID  `json:"run"`
	Master string `json:"master"` // its id
	// URLs are where the master is reached, in the order in which to try them.
	URLs []string `json:"urls"`
	// Token opens this one upload and nothing else.
	Token string `json:"token"`
	// Pin is the SHA-256 of the certificate (DER, hexadecimal) that the master shows at its https addresses.
	Pin string `json:"pin,omitempty"`
}

// LogPosition is a place in the output of a run: an offset in the log of one of its attempts.
type LogPosition struct {
	Attempt int   `json:"attempt"` // from 1; 0: the first
	Offset  int64 `json:"offset"`
}

// String is the position as ATTEMPT:OFFSET, which [ParseLogPosition] reads.
func (p LogPosition) String() string {
	return strconv.Itoa(p.Attempt) + ":" + strconv.FormatInt(p.Offset, 10)
}

// Compare tells which of two positions comes first: negative, 0 or positive.
func (p LogPosition) Compare(q LogPosition) int {
	return cmp.Or(cmp.Compare(p.Attempt, q.Attempt), cmp.Compare(p.Offset, q.Offset))
}

// ParseLogPosition is the inverse of [LogPosition.String].
func ParseLogPosition(s string) (LogPosition, error) {
	attempt, offset, ok := strings.Cut(s, ":")
	n, err := strconv.Atoi(attempt)
	off, err2 := strconv.ParseInt(offset, 10, 64)
	if !ok || err != nil || err2 != nil || n < 0 || off < 0 {
		return LogPosition{}, Errorf(CodeInvalid, "%.40q is no place in a log", s).WithHint("write it as ATTEMPT:OFFSET, such as 1:4096")
	}
	return LogPosition{Attempt: n, Offset: off}, nil
}

// LogBatch is what a node sends to the master that follows a run. A batch that does not begin where the master has come to changes
// nothing, so that sending one again does no harm.
type LogBatch struct {
	At     LogPosition `json:"at"` // where the batch begins: what the master wanted
	Chunks []Chunk     `json:"chunks,omitempty"`
	// Quiet says that there was nothing more to read for a moment.
	Quiet bool `json:"quiet,omitempty"`
	// Complete says that the log of the attempt ends with this batch. Torn says that it ends because its writer died.
	Complete bool `json:"complete,omitempty"`
	Torn     bool `json:"torn,omitempty"`
	// Missing says that the node has nothing at the position, and Next, unless 0, the next attempt of which it has a log.
	Missing bool `json:"missing,omitempty"`
	Next    int  `json:"next,omitempty"`
	// Gone says that the node has nothing more, and that the run does not live there: nothing will follow.
	Gone bool `json:"gone,omitempty"`
}

// The most that a batch may have: bytes of output, and chunks.
const (
	MaxLogBatch  = 128 << 10
	MaxLogChunks = 1000
)

// LogPath is where a master takes batches (POST, JSON, the follow's token as bearer token), below each of its addresses and followed by
// the follow's id.
const LogPath = "/node/v1/logs/"

// LogWanted is a master's answer to a batch.
type LogWanted struct {
	At   LogPosition `json:"at"`             // what it wants next
	Hold bool        `json:"hold,omitempty"` // it wants nothing now: send an empty batch to ask again
	Over bool        `json:"over,omitempty"` // it wants nothing any more
}
