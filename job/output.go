package job

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Stream says where output was written to.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Valid tells whether s is one of the streams.
func (s Stream) Valid() bool { return s == Stdout || s == Stderr }

// Chunk is a piece of what an attempt wrote. In JSON its data are text where they are UTF-8, and base64 otherwise.
type Chunk struct {
	// Offset counts the bytes of both streams together, from 0. A jump between two chunks is what isn't kept.
	Offset int64
	Stream Stream
	Time   time.Time
	Data   []byte
	// Note is what the log says of itself, such as that a full disk cost it some bytes. Such a chunk has neither
	// stream nor data, and Offset is where the output goes on.
	Note string
}

// End is the offset of what follows the chunk.
func (c *Chunk) End() int64 { return c.Offset + int64(len(c.Data)) }

type chunkJSON struct {
	Offset     int64     `json:"offset"`
	Stream     Stream    `json:"stream,omitempty"`
	Time       time.Time `json:"time,omitzero"`
	Data       string    `json:"data,omitempty"`
	DataBase64 []byte    `json:"data_base64,omitempty"`
	Note       string    `json:"note,omitempty"`
}

// MarshalJSON writes {offset, stream, time, data or data_base64, note}.
func (c Chunk) MarshalJSON() ([]byte, error) {
	j := chunkJSON{Offset: c.Offset, Stream: c.Stream, Time: c.Time, Note: c.Note}
	if utf8.Valid(c.Data) {
		j.Data = string(c.Data)
	} else {
		j.DataBase64 = c.Data
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Chunk) UnmarshalJSON(b []byte) error {
	var j chunkJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*c = Chunk{Offset: j.Offset, Stream: j.Stream, Time: j.Time, Data: j.DataBase64, Note: j.Note}
	if j.Data != "" {
		c.Data = []byte(j.Data)
	}
	return nil
}

// OutputPart says of which stream a part of a record's output is, and when it came. It reaches to the next part.
type OutputPart struct {
	At     int       `json:"at"`     // where in Output it begins, in bytes
	Stream Stream    `json:"stream"` // empty: a line of Rota's own, that says what was left out; or both streams, merged
	Time   time.Time `json:"time"`   // of its first byte
	// Merged is how many further pieces of the same stream, that came later, the part holds too: their times are not kept.
	Merged int `json:"merged,omitempty"`
}

// MaxOutputParts is how many parts of its output a record tells apart.
const MaxOutputParts = 256

// Progress is what a run says of how far it is.
type Progress struct {
	Progress float64   `json:"progress"` // from 0 to 1
	Message  string    `json:"message,omitempty"`
	Time     time.Time `json:"time,omitzero"` // when it was read
}

// splitBytes splits bytes into what JSON carries: the text, and the bytes themselves where the text, in which
// U+FFFD stands for what is not UTF-8, is not the whole truth.
func splitBytes(s string) (text string, raw []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return strings.ToValidUTF8(s, "\uFFFD"), []byte(s)
}
