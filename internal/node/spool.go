package node

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// spool is the node's memory: an append-only log on its disk. It knows which runs have begun, which records are not
// handed over yet, and up to which instant each job was dealt with.
//
// Every line is written before the call returns, so that it survives the agent; the disk is asked to sync in the
// background, so that it survives the machine but for the last moments. While the disk refuses, everything is kept in
// memory, and written as soon as the disk takes it again.
//
// What is told of a job's instants must be told in their order: the last one says how far the job was dealt with.
type spool struct {
	dir    string
	create func(path string) (logFile, error)

	mu       sync.Mutex
	file     logFile // the current segment; nil while the disk refuses one
	seq      int     // its number
	size     int64   // its length
	rotateAt int64
	broken   error // why nothing can be written now; nil when the log is well
	closed   bool

	open    map[job.RunID]*openRun
	cursors map[string]time.Time // job's hash to instant
	pending []*pendingRecord     // in the order in which they ended
	byID    map[string]*pendingRecord
	live    map[int]int // segment to the number of its records that are pending
	// inherited are the runs that were asked for of which an earlier life of the agent left something.
	inherited map[job.RunID]bool

	// What is kept in memory of the records that the log has.
	cached, cachedBytes int

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
	asked  bool // it ends a dispatch
	at     place
	cached *job.ExecutionRecord // nil: read it back from the log
}

// place is where a line stands. Its length is 0 where the disk has refused it.
type place struct {
	seq    int
	off    int64
	length int
}

// Bounds of what waits in memory; the rest is read back from the log.
const (
	maxCached      = 4096
	maxCachedBytes = 16 << 20
)

// openSpoolWith opens the log in dir, or begins one. It does so also where the disk is full. create makes its segments.
func openSpoolWith(dir string, create func(path string) (logFile, error)) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &spool{
		dir: dir, create: create, open: map[job.RunID]*openRun{}, cursors: map[string]time.Time{},
		byID: map[string]*pendingRecord{}, live: map[int]int{}, inherited: map[job.RunID]bool{},
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
	for id, p := range s.byID {
		if p.asked {
			s.inherited[job.RunID(id)] = true
		}
	}
	for id, o := range s.open {
		if endsDispatch(&o.Record) {
			s.inherited[id] = true
		}
	}
	if err := s.rotate(); err != nil {
		if !full(err) {
			return nil, err
		}
		s.broken = err
		s.signal(s.dirty)
	}
	go s.keep()
	s.signal(s.ready)
	return s, nil
}

// begin notes that a run begins, with the record that it leaves if nothing more is heard of it.
func (s *spool) begin(rec *job.ExecutionRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &openRun{Record: *rec}
	_, err := s.write('B', o)
	s.open[job.RunID(rec.ID)] = o
	s.moveCursor(rec)
	return err
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

// end notes how a run ended, or that an instant did not run, and queues the record for the hand-over. A record that
// is too large is cut. If the disk refuses it, the record is kept in memory and the error returned.
func (s *spool) end(rec *job.ExecutionRecord) error {
	line, err := recordLine(rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	var at place
	if err == nil {
		at, err = s.append(line)
	}
	s.enqueue(rec, at)
	s.signal(s.ready)
	return err
}

// ack notes that records were handed over.
func (s *spool) ack(ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dequeue(ids)
	_, err := s.write('A', ids)
	return err
}

// advance notes cursors that no record carries: of instants that other nodes ran.
func (s *spool) advance(cursors map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveCursors(cursors)
	_, err := s.write('C', cursors)
	return err
}

// forget drops the cursor of a job that is gone.
func (s *spool) forget(hash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs error
	for _, key := range [...]string{hash, ruleKey(hash)} {
		if _, ok := s.cursors[key]; ok {
			delete(s.cursors, key)
			_, err := s.write('D', key)
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// cursor is the instant up to which a job was dealt with; zero where nothing is known of it.
func (s *spool) cursor(hash string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[hash]
}

// orphans lists the runs that an earlier life of the agent began and did not end, in the order in which they began.
func (s *spool) orphans() []openRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []openRun
	for _, o := range s.open {
		list = append(list, *o)
	}
	slices.SortFunc(list, func(a, b openRun) int { return a.Record.BeginTime.Compare(b.Record.BeginTime) })
	return list
}

// knows tells whether a run has begun or ended here and its record is not handed over yet. Of one that an earlier life
// began or ended it tells so for good: its dispatch may be read just before it is handed over, and heard of after that.
func (s *spool) knows(id job.RunID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id] != nil || s.byID[string(id)] != nil || s.inherited[id]
}

// ended tells whether a run's record waits for the hand-over.
func (s *spool) ended(id job.RunID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[string(id)] != nil
}

// inherit notes that this life goes on with a run of an earlier one, and tells whether that had noted its begin.
func (s *spool) inherit(id job.RunID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inherited[id] = true
	return s.open[id] != nil
}

// waiting is how many records wait for the hand-over.
func (s *spool) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// refused is why the disk can't be written at the moment, or nil.
func (s *spool) refused() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// next lists records that wait for the hand-over, oldest first, at most n and about size bytes of them. The
// error tells of records that can't be read: one that is damaged is given up, any other stays.
func (s *spool) next(n, size int) (list []job.ExecutionRecord, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending {
		if len(list) == n || size <= 0 {
			break
		}
		if s.byID[p.id] != p {
			continue
		}
		rec := p.cached
		if rec == nil {
			var e error
			if rec, e = s.readBack(p); e != nil {
				if err = errors.Join(err, e); errors.Is(e, errDamaged) {
					s.drop(p)
				}
				continue
			}
		}
		list = append(list, *rec)
		size -= p.at.length
	}
	return list, err
}

// setAside puts a record behind all others, so that it is in nobody's way.
func (s *spool) setAside(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byID[id]; p != nil {
		i := slices.Index(s.pending, p)
		s.pending = append(slices.Delete(s.pending, i, i+1), p)
	}
}

// enqueue takes in a record that ended, and where its line stands.
func (s *spool) enqueue(rec *job.ExecutionRecord, at place) {
	delete(s.open, job.RunID(rec.ID))
	s.moveCursor(rec)
	if s.byID[rec.ID] != nil {
		return
	}
	p := &pendingRecord{id: rec.ID, asked: endsDispatch(rec), at: at, cached: rec}
	s.pending = append(s.pending, p)
	s.byID[rec.ID] = p
	if at.length > 0 {
		s.live[at.seq]++
		s.cache(p)
	}
}

// cache keeps the record in memory if there is room for it; the log has it.
func (s *spool) cache(p *pendingRecord) {
	if s.cached >= maxCached || s.cachedBytes+p.at.length > maxCachedBytes {
		p.cached = nil
		return
	}
	s.cached++
	s.cachedBytes += p.at.length
}

func (s *spool) dequeue(ids []string) {
	for _, id := range ids {
		if p := s.byID[id]; p != nil {
			s.drop(p)
		}
	}
	// What was handed over stands at the head, but for a few.
	n := 0
	for n < len(s.pending) && s.byID[s.pending[n].id] != s.pending[n] {
		n++
	}
	clear(s.pending[:n])
	s.pending = s.pending[n:]
}

// drop forgets a record. It leaves its place in the order to dequeue.
func (s *spool) drop(p *pendingRecord) {
	delete(s.byID, p.id)
	if p.at.length == 0 {
		return
	}
	s.live[p.at.seq]--
	if p.cached != nil {
		s.cached--
		s.cachedBytes -= p.at.length
		p.cached = nil
	}
}

func (s *spool) moveCursor(rec *job.ExecutionRecord) {
	if endsDispatch(rec) || rec.Instant.IsZero() {
		return
	}
	at := rec.Instant
	if rec.Until.After(at) {
		at = rec.Until
	}
	s.moveCursors(map[string]time.Time{rec.JobID: at})
}

func (s *spool) moveCursors(cursors map[string]time.Time) {
	for hash, at := range cursors {
		if at.After(s.cursors[hash]) {
			s.cursors[hash] = at
		}
	}
}

func (s *spool) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
