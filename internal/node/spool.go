package node

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// spool is the node's memory: an append-only log on its disk. It knows which runs have begun, which records are not
// handed over yet, and up to which instant each job was dealt with.
//
// Every line is written before the call returns, so that it survives the agent; the disk is asked to sync in the
// background, so that it survives the machine but for the last moments. A line is a checksum, a letter and JSON:
//
//	B  a run begins: the record that it leaves if nothing more is heard of it
//	P  its process: pid, start time, boot
//	E  it ended: its record
//	A  ids that were handed over
//	C  cursors: job to instant
//
// The log is a row of segments. A new one begins with the cursors and the open runs; an old one is removed when
// all its records are handed over.
type spool struct {
	dir string

	mu       sync.Mutex
	file     *os.File
	seq      int   // of the current segment
	size     int64 // of the current segment
	rotateAt int64
	broken   error // the last failure to write, nil when the log is well

	open    map[job.RunID]*openRun
	cursors map[string]time.Time // job's hash to instant
	pending []*pendingRecord     // in the order in which they ended
	byID    map[string]*pendingRecord
	live    map[int]int // segment to the number of its records that are pending

	dirty chan struct{} // capacity 1: something to sync
	ready chan struct{} // capacity 1: something to hand over
	quit  chan struct{}
	done  chan struct{}
}

// openRun is a run that has begun and not ended.
type openRun struct {
	Record  job.ExecutionRecord `json:"record"`
	Process *job.Process        `json:"process,omitempty"`
}

type pendingRecord struct {
	id     string
	seg    int
	off    int64
	length int
	cached *job.ExecutionRecord // nil: read it back from the log
}

// Sizes of the log.
const (
	segmentSize = 16 << 20
	maxCached   = 4096 // records kept in memory while they wait
)

// openSpool opens the log in dir, or begins one.
func openSpool(dir string) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &spool{
		dir: dir, rotateAt: segmentSize, open: map[job.RunID]*openRun{}, cursors: map[string]time.Time{},
		byID: map[string]*pendingRecord{}, live: map[int]int{},
		dirty: make(chan struct{}, 1), ready: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	segments, err := s.segments()
	if err != nil {
		return nil, err
	}
	for _, seq := range segments {
		if err := s.replay(seq); err != nil {
			return nil, err
		}
		s.seq = seq
	}
	if err := s.rotate(); err != nil {
		return nil, err
	}
	go s.sync()
	s.signal(s.ready)
	return s, nil
}

func (s *spool) path(seq int) string { return filepath.Join(s.dir, fmt.Sprintf("%08d.log", seq)) }

func (s *spool) segments() ([]int, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var seqs []int
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".log")); err == nil {
			seqs = append(seqs, n)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
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
			s.take(kind, body, seq, off, len(line))
		}
		off += int64(len(line))
	}
}

// formatLine makes a line of the log.
func formatLine(kind byte, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	line := make([]byte, 0, len(body)+12)
	line = fmt.Appendf(line, "%08x %c", crc32.ChecksumIEEE(body), kind)
	return append(append(line, body...), '\n'), nil
}

// parseLine reads a line; ok is false where its checksum or form does not hold.
func parseLine(line []byte) (kind byte, body []byte, ok bool) {
	if len(line) < 11 || line[8] != ' ' || line[len(line)-1] != '\n' {
		return 0, nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	body = line[10 : len(line)-1]
	if err != nil || crc32.ChecksumIEEE(body) != uint32(sum) {
		return 0, nil, false
	}
	return line[9], body, true
}

// take applies a line to what is in memory. Applying a line twice is applying it once.
func (s *spool) take(kind byte, body []byte, seq int, off int64, length int) {
	switch kind {
	case 'B':
		var o openRun
		if json.Unmarshal(body, &o) == nil {
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
			s.enqueue(&rec, seq, off, length)
		}
	case 'A':
		var ids []string
		if json.Unmarshal(body, &ids) == nil {
			s.dequeue(ids)
		}
	case 'C':
		var cursors map[string]time.Time
		if json.Unmarshal(body, &cursors) == nil {
			for hash, at := range cursors {
				if at.After(s.cursors[hash]) {
					s.cursors[hash] = at
				}
			}
		}
	}
}

func (s *spool) moveCursor(rec *job.ExecutionRecord) {
	if rec.Trigger != job.TriggerTimer && rec.Trigger != job.TriggerCatchup {
		return
	}
	at := rec.Instant
	if rec.Until.After(at) {
		at = rec.Until
	}
	if at.After(s.cursors[rec.JobID]) {
		s.cursors[rec.JobID] = at
	}
}

func (s *spool) enqueue(rec *job.ExecutionRecord, seq int, off int64, length int) {
	delete(s.open, job.RunID(rec.ID))
	s.moveCursor(rec)
	if s.byID[rec.ID] != nil {
		return
	}
	p := &pendingRecord{id: rec.ID, seg: seq, off: off, length: length}
	if len(s.pending) < maxCached {
		p.cached = rec
	}
	s.pending = append(s.pending, p)
	s.byID[rec.ID] = p
	s.live[seq]++
}

func (s *spool) dequeue(ids []string) {
	for _, id := range ids {
		if p := s.byID[id]; p != nil {
			delete(s.byID, id)
			s.live[p.seg]--
		}
	}
	// What was handed over stands at the head, but for a few.
	for len(s.pending) > 0 && s.byID[s.pending[0].id] != s.pending[0] {
		s.pending[0] = nil
		s.pending = s.pending[1:]
	}
}

// begin notes that a run begins, with the record that it leaves if nothing more is heard of it.
func (s *spool) begin(rec *job.ExecutionRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &openRun{Record: *rec}
	if _, err := s.write('B', o); err != nil {
		return err
	}
	s.open[job.RunID(rec.ID)] = o
	s.moveCursor(rec)
	return nil
}

// started notes the process of a run, so that a later life of the agent can find it.
func (s *spool) started(p *job.Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.open[p.Run]; o != nil {
		o.Process = p
	}
	_, err := s.write('P', p)
	return err
}

// end notes how a run ended, or that an instant did not run, and queues the record for the hand-over. If the
// disk refuses it, the record is kept in memory and the error returned.
func (s *spool) end(rec *job.ExecutionRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	off := s.size
	n, err := s.write('E', rec)
	s.enqueue(rec, s.seq, off, n)
	if err != nil {
		s.byID[rec.ID].cached = rec // the log has it not
	}
	s.signal(s.ready)
	return err
}

// write appends a line to the current segment. Callers hold the lock.
func (s *spool) write(kind byte, v any) (int, error) {
	line, err := formatLine(kind, v)
	if err != nil {
		return 0, err
	}
	if s.broken != nil || s.size >= s.rotateAt {
		if err := s.rotate(); err != nil {
			s.broken = err
			return 0, err
		}
	}
	if _, err = s.file.Write(line); err != nil {
		// The segment may end in half a line now: nothing may be appended behind it.
		s.broken = fmt.Errorf("spool: %w", err)
		return 0, s.broken
	}
	s.size += int64(len(line))
	s.signal(s.dirty)
	return len(line), nil
}

// rotate begins a new segment with what must not be forgotten, then removes the old ones that nothing needs. Callers
// hold the lock.
func (s *spool) rotate() error {
	seq := s.seq + 1
	f, err := os.OpenFile(s.path(seq), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if errors.Is(err, os.ErrExist) { // left by a rotation that failed
		if err = os.Remove(s.path(seq)); err == nil {
			f, err = os.OpenFile(s.path(seq), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	var buf bytes.Buffer
	moved, err := s.checkpoint(&buf)
	if err == nil {
		_, err = f.Write(buf.Bytes())
		if err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(s.path(seq))
		return fmt.Errorf("spool: %w", err)
	}
	if s.file != nil {
		_ = s.file.Sync()
		_ = s.file.Close()
	}
	s.file, s.seq, s.size, s.broken = f, seq, int64(buf.Len()), nil
	for p, at := range moved {
		s.live[p.seg]--
		s.live[seq]++
		p.seg, p.off, p.length = seq, at.off, at.length
	}
	s.rotateAt = max(segmentSize, 4*s.size)
	s.sweep()
	return nil
}

// place is where a line stands in its segment.
type place struct {
	off    int64
	length int
}

// checkpoint writes the cursors, the open runs, and the records that the disk refused before. It tells where
// the latter will stand.
func (s *spool) checkpoint(buf *bytes.Buffer) (map[*pendingRecord]place, error) {
	add := func(kind byte, v any) (int, error) {
		line, err := formatLine(kind, v)
		buf.Write(line)
		return len(line), err
	}
	if len(s.cursors) > 0 {
		if _, err := add('C', s.cursors); err != nil {
			return nil, err
		}
	}
	for _, o := range s.open {
		if _, err := add('B', o); err != nil {
			return nil, err
		}
	}
	moved := map[*pendingRecord]place{}
	for _, p := range s.pending {
		if p.length > 0 || s.byID[p.id] != p {
			continue
		}
		off := int64(buf.Len())
		n, err := add('E', p.cached)
		if err != nil {
			return nil, err
		}
		moved[p] = place{off, n}
	}
	return moved, nil
}

// sweep removes the segments before the current one, from the oldest on, as far as no record in them is pending. It
// stops at the first that is needed, because the lines behind may acknowledge what stands in it.
func (s *spool) sweep() {
	segments, err := s.segments()
	if err != nil {
		return
	}
	for _, seq := range segments {
		if seq >= s.seq || s.live[seq] > 0 {
			return
		}
		if os.Remove(s.path(seq)) != nil {
			return
		}
		delete(s.live, seq)
	}
}

// next lists records that wait for the hand-over, oldest first, at most n and about size bytes of them.
func (s *spool) next(n, size int) ([]job.ExecutionRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []job.ExecutionRecord
	for _, p := range s.pending {
		if len(list) == n || size <= 0 {
			break
		}
		if s.byID[p.id] != p {
			continue
		}
		rec := p.cached
		if rec == nil {
			r, err := s.readBack(p)
			if err != nil {
				return list, err
			}
			rec = r
		}
		list = append(list, *rec)
		size -= p.length
	}
	return list, nil
}

func (s *spool) readBack(p *pendingRecord) (*job.ExecutionRecord, error) {
	f, err := os.Open(s.path(p.seg))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	line := make([]byte, p.length)
	if _, err := f.ReadAt(line, p.off); err != nil {
		return nil, fmt.Errorf("spool: read %s: %w", s.path(p.seg), err)
	}
	_, body, ok := parseLine(line)
	if !ok {
		return nil, fmt.Errorf("spool: the record %s in %s is damaged", p.id, s.path(p.seg))
	}
	rec, err := job.ParseExecutionRecord(body)
	return &rec, err
}

// ack notes that records were handed over.
func (s *spool) ack(ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dequeue(ids)
	_, err := s.write('A', ids)
	return err
}

// keep notes cursors that no record carries: of instants that other nodes ran.
func (s *spool) keep(cursors map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, at := range cursors {
		if at.After(s.cursors[hash]) {
			s.cursors[hash] = at
		}
	}
	_, err := s.write('C', cursors)
	return err
}

// forget drops the cursor of a job that is gone.
func (s *spool) forget(hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cursors, hash)
}

// cursor is the instant up to which a job was dealt with; zero where nothing is known of it.
func (s *spool) cursor(hash string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[hash]
}

// orphans lists the runs that an earlier life of the agent began and did not end.
func (s *spool) orphans() []openRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []openRun
	for _, o := range s.open {
		list = append(list, *o)
	}
	return list
}

// knows tells whether a run has begun or ended here and its record is not handed over yet.
func (s *spool) knows(id job.RunID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id] != nil || s.byID[string(id)] != nil
}

// waiting is how many records wait for the hand-over.
func (s *spool) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

func (s *spool) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sync asks the disk to keep what was written, as often as it can.
func (s *spool) sync() {
	defer close(s.done)
	for {
		select {
		case <-s.dirty:
		case <-s.quit:
			return
		}
		s.mu.Lock()
		f := s.file
		s.mu.Unlock()
		_ = f.Sync() // a segment closed meanwhile was synced as it was closed
		select {
		case <-time.After(syncEvery):
		case <-s.quit:
			return
		}
	}
}

// syncEvery is how much of the log the loss of the machine's power may cost at the most.
const syncEvery = 100 * time.Millisecond

// close ends the log's goroutine and syncs the log. The spool must not be used afterwards.
func (s *spool) close() error {
	close(s.quit)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.file.Sync(), s.file.Close())
}
