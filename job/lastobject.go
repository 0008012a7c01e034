package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// LastObject finds the last JSON object of a stream that is written to it. It keeps at least the last MaxResult bytes. The zero value is an
// empty stream.
type LastObject struct {
	buf []byte
	cut bool // something came before buf
}

// Write never fails.
func (l *LastObject) Write(p []byte) (int, error) {
	size := len(p)
	if len(p) > MaxResult {
		l.buf, l.cut = l.buf[:0], true
		p = p[len(p)-MaxResult:]
	}
	if len(l.buf)+len(p) > 2*MaxResult {
		n := copy(l.buf, l.buf[len(l.buf)-MaxResult:])
		l.buf, l.cut = l.buf[:n], true
	}
	l.buf = append(l.buf, p...)
	return size, nil
}

// maxScan is how many bytes are read in search of an object, which begins at a brace, but not at every one.
const maxScan = 4 << 20

// Object is the last JSON object; nil where there is no brace at all. What follows it may be anything, as long as the object
// can't be a part of a larger one.
func (l *LastObject) Object() (json.RawMessage, error) {
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
	if l.cut && bytes.ContainsAny(text[end:], "}]") || len(last) > MaxResult {
		return nil, fmt.Errorf("its last JSON object has more than %d bytes", MaxResult)
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
