package runlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// Writer writes one log. It is safe for concurrent use.
type Writer struct {
	d    *Dir
	id   ID
	path string

	mu       sync.Mutex
	f        *os.File // the segment, locked; nil: none could be made, or closed
	size     int64    // of whole frames in f
	segments []segment
	disk     int64 // of all segments
	offset   int64 // of the next byte
	lost     int64 // bytes since the last frame that was kept
	total    int64 // bytes that were lost in all
	why      error // of the first of them
	closed   bool
	buf      []byte
}

type segment struct {
	path string
	disk int64
}

// Create begins a log. One of that id that nobody writes any more is replaced; where somebody does, that is CodeConflict. A disk
// that refuses is no error: the log begins when it no longer does.
func (d *Dir) Create(id ID) (*Writer, error) {
	name, err := id.name()
	if err != nil {
		return nil, err
	}
	w := &Writer{d: d, id: id, path: filepath.Join(d.path, name)}
	if have := segments(w.path); len(have) > 0 {
		if locked(filepath.Join(w.path, segmentName(have[len(have)-1]))) {
			return nil, job.Errorf(job.CodeConflict, "the log of attempt %d of run %s is being written already", id.Attempt, id.Run)
		}
	}
	err = os.RemoveAll(w.path)
	if err == nil {
		err = w.next()
	}
	if err != nil {
		d.log.Warn("the log of a run can't begin yet; the run goes on", "run", id.Run, "attempt", id.Attempt, "error", err)
	}
	return w, nil
}

// next begins a segment. It is locked before others can see it, and before the last one is let go. mu is held.
func (w *Writer) next() error {
	if w.f == nil && len(w.segments) == 0 {
		if err := w.d.room(folderSize); err != nil {
			return err
		}
		if err := os.Mkdir(w.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			w.d.gone(folderSize)
			return err
		}
	}
	path := filepath.Join(w.path, segmentName(w.offset))
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if !tryLock(f, false) {
		f.Close()
		return fmt.Errorf("%s is locked by somebody else", path)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.Close()
		_ = os.Remove(path + ".new")
		return err
	}
	if w.f != nil {
		w.f.Close()
	}
	w.f, w.size = f, 0
	if n := len(w.segments); n > 0 && w.segments[n-1].path == path { // the last one was left empty
		w.disk -= w.segments[n-1].disk
		w.segments = w.segments[:n-1]
	}
	w.segments = append(w.segments, segment{path: path})
	return nil
}

// Write appends what a stream got at a time. It never fails: what can't be kept is counted, and said in the log when there is
// room again.
func (w *Writer) Write(stream job.Stream, at time.Time, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for len(data) > 0 {
		n := min(len(data), maxData)
		w.put(frame{kindOf(stream), at.UnixNano(), w.offset, data[:n]})
		data = data[n:]
	}
}

// put writes one frame of output, and before it what there is to say of lost ones. mu is held.
func (w *Writer) put(f frame) {
	n := int64(len(f.data))
	var err error
	if w.lost > 0 {
		note := fmt.Sprintf("%d bytes of output could not be kept in the node's log: %v", w.lost, w.why)
		if err = w.append(frame{kindNote, f.at, w.offset, []byte(note)}); err == nil {
			w.lost, w.why = 0, nil
		}
	}
	if err == nil {
		err = w.append(f)
	}
	w.offset += n
	if err == nil {
		return
	}
	if w.total == 0 {
		w.d.log.Warn("output can't be kept in the log of a run, which goes on", "run", w.id.Run, "attempt", w.id.Attempt, "error", err)
	}
	if w.why == nil {
		w.why = err
	}
	w.lost += n
	w.total += n
}

// append writes a frame whole or not at all. mu is held.
func (w *Writer) append(f frame) error {
	w.buf = appendFrame(w.buf[:0], f)
	n := int64(len(w.buf))
	if w.f == nil || (w.size > 0 && w.size+n > w.d.segment) {
		if err := w.next(); err != nil {
			return err
		}
	}
	more := onDisk(w.size+n) - onDisk(w.size)
	for len(w.segments) > 1 && w.disk+more > w.d.perRun {
		old := w.segments[0]
		err := os.Remove(old.path)
		if err != nil && !missing(err) {
			return err
		}
		w.disk -= old.disk
		w.segments = w.segments[1:]
		if err == nil { // else it went at the limit of the node
			w.d.gone(old.disk)
		}
	}
	if more > 0 {
		if err := w.d.room(more); err != nil {
			return err
		}
	}
	if _, err := w.f.WriteAt(w.buf, w.size); err != nil {
		w.d.gone(more)
		if terr := w.f.Truncate(w.size); terr != nil { // what half a frame would hide goes into a segment of its own
			w.f.Close()
			w.f = nil
		}
		return err
	}
	w.size += n
	w.disk += more
	w.segments[len(w.segments)-1].disk += more
	return nil
}

// gone takes n bytes off what is on disk.
func (d *Dir) gone(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used = max(d.used-n, 0)
}

// Close says in the log that this was all. The error says how much could not be kept, and why. Closing again does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	why := w.why
	now := time.Now().UnixNano()
	if w.lost > 0 {
		note := fmt.Sprintf("%d bytes of output could not be kept in the node's log: %v", w.lost, w.why)
		_ = w.append(frame{kindNote, now, w.offset, []byte(note)})
	}
	err := w.append(frame{kindEnd, now, w.offset, nil})
	if w.f != nil {
		w.f.Close()
		w.f = nil
	}
	if err == nil {
		err = why
	}
	if w.total > 0 || err != nil {
		return fmt.Errorf("%d of %d bytes of output are missing in the log of run %s: %w", w.total, w.offset, w.id.Run, err)
	}
	return nil
}
