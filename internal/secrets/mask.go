package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
)

// masked stands for a value.
const masked = "[secret]"

// minMasked is the fewest bytes of a value that is masked: fewer are everywhere by chance.
const minMasked = 4

// Masker replaces values by "[secret]", as they are and as JSON, URLs, base64 and hex write them. The zero
// value and nil replace nothing. It must not be changed while others use it.
type Masker struct {
	values [][]byte // the longest first
}

// Add has a value replaced from now on. Of one with several lines each line is replaced too.
func (m *Masker) Add(value string) {
	m.add(value)
	if lines := strings.Split(value, "\n"); len(lines) > 1 {
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
				m.add(line)
			}
		}
	}
	slices.SortFunc(m.values, func(a, b []byte) int { return len(b) - len(a) })
}

func (m *Masker) add(value string) {
	forms := []string{
		value, url.QueryEscape(value), url.PathEscape(value), hex.EncodeToString([]byte(value)),
		base64.StdEncoding.EncodeToString([]byte(value)), base64.RawStdEncoding.EncodeToString([]byte(value)),
		base64.URLEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
	}
	if b, err := json.Marshal(value); err == nil {
		forms = append(forms, string(b[1:len(b)-1]))
	}
	for _, f := range forms {
		if len(f) >= minMasked && !slices.ContainsFunc(m.values, func(v []byte) bool { return string(v) == f }) {
			m.values = append(m.values, []byte(f))
		}
	}
}

// Bytes is b without the values.
func (m *Masker) Bytes(b []byte) []byte {
	if m == nil {
		return b
	}
	for _, v := range m.values {
		if bytes.Contains(b, v) {
			b = bytes.ReplaceAll(b, v, []byte(masked))
		}
	}
	return b
}

// String is s without the values.
func (m *Masker) String(s string) string { return string(m.Bytes([]byte(s))) }

// Writer masks what is written to it, also where a value comes in several pieces. What could be the beginning of a value
// is held back until more is written, or Flush. It is for one goroutine.
type Writer struct {
	to   io.Writer
	m    *Masker
	held []byte
}

// Writer makes a writer that passes on to another.
func (m *Masker) Writer(to io.Writer) *Writer { return &Writer{to: to, m: m} }

// Write never fails but by what it passes on to.
func (w *Writer) Write(p []byte) (int, error) {
	if w.m == nil || len(w.m.values) == 0 {
		return w.to.Write(p)
	}
	w.held = append(w.held, p...)
	return len(p), w.pass(w.beginning())
}

// Flush passes on what is held back.
func (w *Writer) Flush() error { return w.pass(len(w.held)) }

// pass masks and passes on the first bytes that are held. A value never reaches over their end.
func (w *Writer) pass(n int) error {
	if n == 0 {
		return nil
	}
	_, err := w.to.Write(w.m.Bytes(bytes.Clone(w.held[:n])))
	w.held = append(w.held[:0], w.held[n:]...)
	return err
}

// beginning is where in what is held a value may have begun that is not yet whole.
func (w *Writer) beginning() int {
	longest := len(w.m.values[0])
	for i := max(0, len(w.held)-longest+1); i < len(w.held); i++ {
		tail := w.held[i:]
		for _, v := range w.m.values {
			if len(v) > len(tail) && bytes.HasPrefix(v, tail) && !w.whole(i) {
				return i
			}
		}
	}
	return len(w.held)
}

// whole tells whether a place lies within a value that is there already.
func (w *Writer) whole(at int) bool {
	for _, v := range w.m.values {
		for from := max(0, at-len(v)+1); from < at; from++ {
			if bytes.HasPrefix(w.held[from:], v) && from+len(v) > at {
				return true
			}
		}
	}
	return false
}
