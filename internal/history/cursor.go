package history

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"

	"github.com/rota-dev/rota/job"
)

// place is where a record stands in the order of lists: newest end first, and among equals the one that was
// stored last.
type place struct{ ended, seq int64 }

// first is before every record, newest of all.
var first = place{math.MaxInt64, math.MaxInt64}

func (p place) before(o place) bool {
	return p.ended > o.ended || p.ended == o.ended && p.seq > o.seq
}

const cursorVersion = 1

// cursor writes a place so that a client can hand it back. It is a version and the two numbers, in base64.
func (p place) cursor() string {
	b := make([]byte, 1, 17)
	b[0] = cursorVersion
	b = binary.BigEndian.AppendUint64(b, uint64(p.ended))
	b = binary.BigEndian.AppendUint64(b, uint64(p.seq))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads what cursor wrote; "" is the beginning.
func parseCursor(s string) (place, error) {
	if s == "" {
		return first, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	// The decoder passes over line breaks, which no cursor has.
	if err != nil || len(b) != 17 || b[0] != cursorVersion || strings.ContainsAny(s, "\r\n") {
		return place{}, job.Errorf(job.CodeInvalid, "the cursor %.40q is not one that a list of records returned", s).
			WithHint("leave it out to begin with the newest record")
	}
	return place{int64(binary.BigEndian.Uint64(b[1:])), int64(binary.BigEndian.Uint64(b[9:]))}, nil
}
