package runlog

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rota-dev/rota/job"
)

// ErrTorn is the end of a log that was not closed: its writer died. What came before it is whole.
var ErrTorn = errors.New("the log breaks off: whoever wrote it died")

// Reader reads one log, also while it is written, in this process or another. It is for one goroutine.
type Reader struct {
	id     ID
	path   string
	offset int64 // of the next byte that is wanted
	f      *os.File
	start  int64 // the offset after which f is named
	pos    int64 // in f, of the next frame
	buf    []byte
	have   int   // bytes of buf that are read
	at     int64 // where in f buf begins
	over   bool  // the end was read
	watch  *watch
}

// Reader opens a log at an offset, or at the oldest byte that is kept if that is later. A log that is gone, and one that never was (of
// a run that was short, for one), is CodeNotFound. The caller closes the reader.
func (d *Dir) Reader(id ID, offset int64) (*Reader, error) {
	name, err := id.name()
	if err != nil {
		return nil, err
	}
	r := &Reader{id: id, path: filepath.Join(d.path, name), offset: max(offset, 0)}
	for range 8 { // the oldest segment may go while it is looked for
		list := segments(r.path)
		if len(list) == 0 {
			break
		}
		at := list[0]
		for _, start := range list {
			if start <= r.offset {
				at = start
			}
		}
		if err := r.open(at); err == nil {
			return r, nil
		} else if !missing(err) {
			return nil, job.Errorf(job.CodeUnavailable, "read the log of run %s: %w", id.Run, err)
		}
	}
	return nil, r.gone()
}

func (r *Reader) gone() error {
	return job.Errorf(job.CodeNotFound, "this node has no log of attempt %d of run %s", r.id.Attempt, r.id.Run).
		WithHint("logs are kept of runs that last or write much, until the node's limit is reached; the head and tail of the output stay in the record: rota logs %s", r.id.Run)
}

func (r *Reader) open(start int64) error {
	f, err := os.Open(filepath.Join(r.path, segmentName(start)))
	if err != nil {
		return err
	}
	if r.f != nil {
		r.f.Close()
	}
	r.f, r.start, r.pos, r.have, r.at = f, start, 0, 0, 0
	return nil
}

// Next returns the next piece. While the run is alive it waits for more, until ctx ends. At the end of a log that is complete the
// error is io.EOF; of one whose writer died, [ErrTorn]; of one that was removed meanwhile, CodeNotFound. Data are the caller's.
func (r *Reader) Next(ctx context.Context) (job.Chunk, error) {
	for {
		if r.over {
			return job.Chunk{}, io.EOF
		}
		c, ok, err := r.read()
		if err != nil || ok {
			return c, err
		}
		if r.over {
			continue
		}
		moved, err := r.advance()
		if err != nil {
			return job.Chunk{}, err
		}
		if moved {
			continue
		}
		if r.watch == nil { // look once more after the watch stands, for what came before it
			r.watch = newWatch(r.path)
			continue
		}
		if err := r.watch.wait(ctx); err != nil {
			return job.Chunk{}, err
		}
	}
}

// read returns the next piece of this segment that is wanted; ok is false where there is none yet.
func (r *Reader) read() (c job.Chunk, ok bool, err error) {
	for {
		f, n, err := r.frame()
		if err != nil || n == 0 {
			return c, false, err
		}
		r.pos += int64(n)
		if f.kind == kindEnd {
			r.over = true
			return c, false, nil
		}
		end := f.offset + int64(len(f.data))
		if f.kind == kindNote {
			end = f.offset + 1 // is told to those who read from where it stands
		}
		if end <= r.offset {
			continue
		}
		c := f.chunk()
		if c.Note == "" {
			if skip := r.offset - c.Offset; skip > 0 {
				c.Data, c.Offset = c.Data[skip:], r.offset
			}
			r.offset = end
		}
		return c, true, nil
	}
}

// frame reads the frame at pos; n is 0 where no whole one is there.
func (r *Reader) frame() (f frame, n int, err error) {
	for try := range 2 {
		if off := r.pos - r.at; off >= 0 && off < int64(r.have) {
			if f, n := parseFrame(r.buf[off:r.have]); n > 0 {
				return f, n, nil
			}
		}
		if try > 0 {
			break
		}
		if r.buf == nil {
			r.buf = make([]byte, frameHead+maxData)
		}
		m, err := r.f.ReadAt(r.buf, r.pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return f, 0, job.Errorf(job.CodeUnavailable, "read the log of run %s: %w", r.id.Run, err)
		}
		r.at, r.have = r.pos, m
	}
	return frame{}, 0, nil
}

// advance goes to the next segment if there is one. Where there is none, and nobody writes any more, the log is torn.
func (r *Reader) advance() (moved bool, err error) {
	alive := !tryLock(r.f, true)
	list := segments(r.path)
	next := int64(-1)
	for _, start := range list {
		if start > r.start {
			next = start
			break
		}
	}
	switch {
	case next < 0 && alive:
		return false, nil
	case next < 0 && len(list) == 0:
		return false, r.gone()
	case next < 0:
		// It may have written its last between our look at the file and that at the lock.
		if f, n, err := r.frame(); err != nil || n > 0 {
			_ = f
			return true, err
		}
		return false, ErrTorn
	}
	if _, n, err := r.frame(); err != nil || n > 0 {
		return true, err // the rest of this one, which came before the next was begun
	}
	if err := r.open(next); err != nil && !missing(err) {
		return false, job.Errorf(job.CodeUnavailable, "read the log of run %s: %w", r.id.Run, err)
	}
	return true, nil
}

// Close lets go of the files.
func (r *Reader) Close() error {
	if r.watch != nil {
		r.watch.close()
	}
	return r.f.Close()
}

// The longest that a reader sleeps before it looks again by itself.
const (
	lookAgain    = time.Second            // where the system tells of changes
	lookAgainOld = 100 * time.Millisecond // elsewhere
)
