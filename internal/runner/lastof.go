package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/rota-dev/rota/job"
)

// lastOf keeps the end of a stream: at least the last MaxResult bytes.
type lastOf struct {
	buf []byte
	cut bool // something came before buf
}

func (l *lastOf) write(p []byte) {
	if len(p) > job.MaxResult {
		l.buf, l.cut = l.buf[:0], true
		p = p[len(p)-job.MaxResult:]
	}
	if len(l.buf)+len(p) > 2*job.MaxResult {
		n := copy(l.buf, l.buf[len(l.buf)-job.MaxResult:])
		l.buf, l.cut = l.buf[:n], true
	}
	l.buf = append(l.buf, p...)
}

// maxScan is how many bytes are read in search of an object, which begins at a brace, but not at every one.
const maxScan = 4 << 20

// object is the last JSON object; nil where there is no brace at all. What follows it may be anything, as long as the object
// can't be a part of a larger one.
func (l *lastOf) object() (json.RawMessage, error) {
	text, scanned := l.buf, 0
	if bytes.IndexByte(text, '{') < 0 {
		if l.cut {
			return nil, fmt.Errorf("its last %d bytes hold no JSON object", len(text))
		}
		return nil, nil
	}
	var last []byte
	end := 0 // of last
	for at := 0; ; {
		i := bytes.IndexByte(text[at:], '{')
		if i < 0 {
			break
		}
		at += i
		d := json.NewDecoder(bytes.NewReader(text[at:]))
		var raw json.RawMessage
		err := d.Decode(&raw)
		switch n := int(d.InputOffset()); {
		case err == nil:
			last = text[at : at+n]
			at += n
			end = at
			scanned += n
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			return nil, errors.New("its last JSON object breaks off")
		default:
			scanned += failedAt(err)
			at++
		}
		if scanned > maxScan {
			return nil, errors.New("it has too many braces that begin no JSON object")
		}
	}
	if last == nil {
		return nil, errors.New("it has braces, but no JSON object")
	}
	if l.cut && bytes.ContainsAny(text[end:], "}]") || len(last) > job.MaxResult {
		return nil, fmt.Errorf("its last JSON object has more than %d bytes", job.MaxResult)
	}
	return bytes.Clone(last), nil
}

// failedAt is how far the decoder came.
func failedAt(err error) int {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return int(syntax.Offset)
	}
	return 1
}
