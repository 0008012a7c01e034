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

// Streams are both of them.
var Streams = []Stream{Stdout, Stderr}

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

type (
	recordJSON  ExecutionRecord
	attemptJSON Attempt
)

// MarshalJSON writes the record's output as text, in which U+FFFD stands for what is not UTF-8; where that isn't the whole truth,
// output_base64 has the bytes.
func (r ExecutionRecord) MarshalJSON() ([]byte, error) {
	j := recordJSON(r)
	j.Output, j.OutputBase64 = splitBytes(r.Output)
	return json.Marshal(&j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *ExecutionRecord) UnmarshalJSON(b []byte) error {
	j := recordJSON(*r)
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.OutputBase64 != nil {
		j.Output, j.OutputBase64 = string(j.OutputBase64), nil
	}
	*r = ExecutionRecord(j)
	return nil
}

// MarshalJSON writes the output as a record's.
func (a Attempt) MarshalJSON() ([]byte, error) {
	j := attemptJSON(a)
	j.Output, j.OutputBase64 = splitBytes(a.Output)
	return json.Marshal(&j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Attempt) UnmarshalJSON(b []byte) error {
	j := attemptJSON(*a)
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.OutputBase64 != nil {
		j.Output, j.OutputBase64 = string(j.OutputBase64), nil
	}
	*a = Attempt(j)
	return nil
}

// OutputPiece is a part of a record's output, with its bytes.
type OutputPiece struct {
	OutputPart
	Text string
}

// Pieces are the record's output, part by part. A record that does not tell its parts apart is one piece of no stream.
func (r *ExecutionRecord) Pieces() []OutputPiece {
	if r.Output == "" {
		return nil
	}
	parts := r.OutputParts
	if len(parts) == 0 || parts[0].At != 0 {
		parts = append([]OutputPart{{}}, parts...)
	}
	var list []OutputPiece
	for i, p := range parts {
		end := len(r.Output)
		if i+1 < len(parts) {
			end = parts[i+1].At
		}
		if p.At < 0 || p.At > end || end > len(r.Output) { // was cut, or made, by somebody who doesn't know of parts
			return []OutputPiece{{Text: r.Output}}
		}
		if p.At < end {
			list = append(list, OutputPiece{p, r.Output[p.At:end]})
		}
	}
	return list
}

// CutOutput leaves of the output so many bytes of its beginning and of its end, or a few less, so that no character is cut, and
// puts a mark between them. A record whose output is not longer stays as it is.
func (r *ExecutionRecord) CutOutput(head, tail int, mark string) {
	if len(r.Output) <= head+tail {
		return
	}
	for n := head; head > 0 && head > n-utf8.UTFMax && !utf8.RuneStart(r.Output[head]); {
		head--
	}
	from := len(r.Output) - tail
	for n := from; from < len(r.Output) && from < n+utf8.UTFMax && !utf8.RuneStart(r.Output[from]); {
		from++
	}
	shift := head + len(mark) - from
	var parts []OutputPart
	for _, p := range r.OutputParts {
		if p.At < head {
			parts = append(parts, p)
		}
	}
	if len(r.OutputParts) > 0 {
		parts = append(parts, OutputPart{At: head})
	}
	for i, p := range r.OutputParts {
		end := len(r.Output)
		if i+1 < len(r.OutputParts) {
			end = r.OutputParts[i+1].At
		}
		if end > from {
			p.At = max(p.At, from) + shift
			parts = append(parts, p)
		}
	}
	r.Output = r.Output[:head] + mark + r.Output[from:]
	r.OutputParts, r.OutputTruncated = parts, true
}
