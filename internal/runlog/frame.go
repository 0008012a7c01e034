package runlog

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/rota-dev/rota/job"
)

// A frame is, in little-endian order: the checksum (CRC-32C) of what follows it; the length of the data in three bytes and its kind
// in one; the time, in nanoseconds since 1970; the offset; the data.
const (
	frameHead = 4 + 4 + 8 + 8
	maxData   = 64 << 10
)

const (
	kindStdout byte = 1 + iota
	kindStderr
	kindEnd  // nothing follows; the offset is the number of bytes that there were
	kindNote // the data are a text about the log
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type frame struct {
	kind   byte
	at     int64 // nanoseconds
	offset int64
	data   []byte
}

// appendFrame encodes f, whose data must have at most maxData bytes.
func appendFrame(b []byte, f frame) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.data))|uint32(f.kind)<<24)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.at))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.offset))
	b = append(b, f.data...)
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b
}

// parseFrame reads the frame at the beginning of b; size is 0 where there is no whole one. The data are b's.
func parseFrame(b []byte) (f frame, size int) {
	if len(b) < frameHead {
		return f, 0
	}
	word := binary.LittleEndian.Uint32(b[4:])
	n := int(word & 0xffffff)
	if n > maxData || len(b) < frameHead+n {
		return f, 0
	}
	f = frame{
		kind: byte(word >> 24), at: int64(binary.LittleEndian.Uint64(b[8:])), offset: int64(binary.LittleEndian.Uint64(b[16:])),
		data: b[frameHead : frameHead+n],
	}
	if crc32.Checksum(b[4:frameHead+n], castagnoli) != binary.LittleEndian.Uint32(b) || f.offset < 0 || f.kind < kindStdout || f.kind > kindNote {
		return frame{}, 0
	}
	return f, frameHead + n
}

func kindOf(s job.Stream) byte {
	if s == job.Stderr {
		return kindStderr
	}
	return kindStdout
}

// chunk is the frame as readers get it. The data are copied.
func (f frame) chunk() job.Chunk {
	c := job.Chunk{Offset: f.offset, Time: time.Unix(0, f.at).UTC()}
	if f.kind == kindNote {
		c.Note = string(f.data)
		return c
	}
	c.Stream, c.Data = job.Stdout, append([]byte(nil), f.data...)
	if f.kind == kindStderr {
		c.Stream = job.Stderr
	}
	return c
}
