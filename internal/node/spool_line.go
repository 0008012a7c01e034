package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/rota-dev/rota/job"
)

// A line of the log is a checksum in eight hexadecimal digits, a blank, a letter, and JSON, which the letter tells how to read:
//
//	B  a run begins: the record that it leaves if nothing more is heard of it
//	P  its process: pid, start time, boot
//	E  it ended, or an instant did not run: the record
//	A  ids that were handed over
//	C  cursors: job to instant
//	D  a job that is gone
//
// The checksum covers the letter and the JSON.
const lineHead = 10

// formatLine makes a line of the log.
func formatLine(kind byte, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	line := make([]byte, lineHead, lineHead+len(body)+1)
	line[lineHead-1] = kind
	line = append(line, body...)
	copy(line, fmt.Appendf(nil, "%08x ", crc32.ChecksumIEEE(line[lineHead-1:])))
	return append(line, '\n'), nil
}

// parseLine reads a line; ok is false where its checksum or form does not hold.
func parseLine(line []byte) (kind byte, body []byte, ok bool) {
	if len(line) <= lineHead || line[lineHead-2] != ' ' || line[len(line)-1] != '\n' {
		return 0, nil, false
	}
	sum, err := strconv.ParseUint(string(line[:lineHead-2]), 16, 32)
	if err != nil || crc32.ChecksumIEEE(line[lineHead-1:len(line)-1]) != uint32(sum) {
		return 0, nil, false
	}
	return line[lineHead-1], line[lineHead : len(line)-1], true
}

// recordLine makes the line of a record, which it cuts until it fits.
func recordLine(rec *job.ExecutionRecord) ([]byte, error) {
	for {
		line, err := formatLine('E', rec)
		if err == nil && len(line) <= job.MaxRecord || !shrink(rec, err != nil) {
			return line, err
		}
	}
}

// shrink cuts from a record what it can best be without, and tells whether there was something.
func shrink(rec *job.ExecutionRecord, malformed bool) bool {
	if malformed {
		had := rec.Result != nil
		rec.Result = nil
		return had
	}
	for i := range rec.Attempts {
		if a := &rec.Attempts[i]; a.Output != "" {
			a.Output = ""
			return true
		}
	}
	const least = 1 << 10
	if n := len(rec.Output); n > least {
		rec.CutOutput(n/4, n/4, "\n[…]\n")
		return true
	}
	if len(rec.Result) > 0 {
		rec.Result = nil
		return true
	}
	if len(rec.Command) > least {
		rec.Command = validHead(rec.Command, least-3) + "…"
		return true
	}
	if len(rec.Reason) > least {
		rec.Reason = validHead(rec.Reason, least-3) + "…"
		return true
	}
	return false
}

// validHead is the first n bytes of a text, or a few less, so that no letter is cut.
func validHead(s string, n int) string {
	for least := n - utf8.UTFMax; n > 0 && n > least && !utf8.RuneStart(s[n]); { // bytes may be of any value
		n--
	}
	return s[:n]
}

func validTail(s string, n int) string {
	i := len(s) - n
	for most := i + utf8.UTFMax; i < len(s) && i < most && !utf8.RuneStart(s[i]); {
		i++
	}
	return s[i:]
}

// replay takes a segment in. A broken line at its end is what a crash leaves (nothing is ever appended behind it: a
// new life of the agent begins a new segment); elsewhere it is damage, which costs that line alone.
func (s *spool) replay(seq int) error {
	f, err := os.Open(s.path(seq))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	var off int64
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("spool: read %s: %w", s.path(seq), err)
		}
		if kind, body, ok := parseLine(line); ok {
			s.take(kind, body, place{seq, off, len(line)})
		}
		off += int64(len(line))
	}
}

// take applies a line to what is in memory.
func (s *spool) take(kind byte, body []byte, at place) {
	switch kind {
	case 'B':
		var o openRun
		if json.Unmarshal(body, &o) == nil && o.Record.ID != "" {
			s.open[job.RunID(o.Record.ID)] = &o
			s.moveCursor(&o.Record)
		}
	case 'P':
		var p job.Process
		if json.Unmarshal(body, &p) == nil && s.open[p.Run] != nil {
			s.open[p.Run].Process = &p
		}
	case 'E':
		if rec, err := job.ParseExecutionRecord(body); err == nil {
			s.enqueue(&rec, at)
		}
	case 'A':
		var ids []string
		if json.Unmarshal(body, &ids) == nil {
			s.dequeue(ids)
		}
	case 'C':
		var cursors map[string]time.Time
		if json.Unmarshal(body, &cursors) == nil {
			s.moveCursors(cursors)
		}
	case 'D':
		var hash string
		if json.Unmarshal(body, &hash) == nil {
			delete(s.cursors, hash)
		}
	}
}

var errDamaged = errors.New("the line is damaged")

// readBack reads a record from its place in the log.
func (s *spool) readBack(p *pendingRecord) (*job.ExecutionRecord, error) {
	f, err := os.Open(s.path(p.at.seq))
	if err != nil {
		return nil, fmt.Errorf("spool: read record %s: %w", p.id, err)
	}
	defer f.Close()
	line := make([]byte, p.at.length)
	if _, err := f.ReadAt(line, p.at.off); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("spool: read record %s from %s: %w", p.id, s.path(p.at.seq), err)
	}
	_, body, ok := parseLine(line)
	rec, err := job.ParseExecutionRecord(body)
	if !ok || err != nil || rec.ID != p.id {
		return nil, fmt.Errorf("spool: record %s is lost, at %d in %s: %w", p.id, p.at.off, s.path(p.at.seq), errDamaged)
	}
	return &rec, nil
}
