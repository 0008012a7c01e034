package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The log is a row of segments, 00000001.log and so on. A new one begins with the cursors and the open runs; an old one
// is removed when all its records are handed over.

// SpoolFile is a segment that is written to.
type SpoolFile interface {
	io.WriteCloser
	Sync() error
}

type logFile = SpoolFile

const (
	segmentSize = 16 << 20
	// syncEvery is how much of the log the loss of the machine's power may cost at the most.
	syncEvery = 100 * time.Millisecond
	// mendEvery is how often a disk that refuses to write is asked again.
	mendEvery = time.Second
)

var errClosed = errors.New("spool: it is closed")

func createSegment(path string) (logFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &segment{File: f}, nil
}

// segment is a file that, with its first sync, has its name synced too: what is removed after that it replaces.
type segment struct {
	*os.File
	named sync.Once
	err   error
}

func (f *segment) Sync() error {
	err := f.File.Sync()
	f.named.Do(func() { f.err = syncDir(filepath.Dir(f.Name())) })
	return errors.Join(err, f.err)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (s *spool) path(seq int) string { return filepath.Join(s.dir, fmt.Sprintf("%08d.log", seq)) }

func (s *spool) segments() ([]int, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var seqs []int
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			if n, err := strconv.Atoi(name); err == nil && n > 0 && s.path(n) == filepath.Join(s.dir, e.Name()) {
				seqs = append(seqs, n)
			}
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// write appends a line to the current segment. Callers hold the lock.
func (s *spool) write(kind byte, v any) (place, error) {
	line, err := formatLine(kind, v)
	if err != nil {
		return place{}, err
	}
	return s.append(line)
}

// append writes a line. Where the disk refuses it, what must not be forgotten is written to a new segment later.
func (s *spool) append(line []byte) (place, error) {
	switch {
	case s.closed:
		return place{}, errClosed
	case s.broken != nil:
		return place{}, s.broken
	case s.size >= s.rotateAt:
		if err := s.rotate(); err != nil {
			return place{}, s.breaks(err)
		}
	}
	if _, err := s.file.Write(line); err != nil {
		// The segment may end in half a line now: nothing may be appended behind it.
		if s.rotate() != nil {
			return place{}, s.breaks(fmt.Errorf("spool: %w", err))
		}
		if _, err := s.file.Write(line); err != nil {
			return place{}, s.breaks(fmt.Errorf("spool: %w", err))
		}
	}
	at := place{s.seq, s.size, len(line)}
	s.size += int64(len(line))
	s.signal(s.dirty)
	return at, nil
}

func (s *spool) breaks(err error) error {
	s.broken = err
	s.signal(s.dirty)
	return err
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// rotate begins a new segment with what must not be forgotten, then removes the old ones that nothing needs. Callers
// hold the lock.
func (s *spool) rotate() error {
	var buf bytes.Buffer
	seq := s.seq + 1
	moved, err := s.checkpoint(&buf, seq)
	if err != nil {
		return err
	}
	if err := os.Remove(s.path(seq)); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a rotation that failed
		return fmt.Errorf("spool: %w", err)
	}
	f, err := s.create(s.path(seq))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if _, err = f.Write(buf.Bytes()); err == nil {
		err = f.Sync()
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
		p.at = at
		s.live[seq]++
		s.cache(p)
	}
	s.rotateAt = max(segmentSize, 4*s.size)
	s.sweep()
	return nil
}

// checkpoint writes the cursors, the open runs, and the records that the disk refused before. It tells where
// the latter will stand.
func (s *spool) checkpoint(buf *bytes.Buffer, seq int) (map[*pendingRecord]place, error) {
	add := func(kind byte, v any) (place, error) {
		line, err := formatLine(kind, v)
		at := place{seq, int64(buf.Len()), len(line)}
		buf.Write(line)
		return at, err
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
		if p.at.length > 0 || s.byID[p.id] != p {
			continue
		}
		at, err := add('E', p.cached)
		if err != nil {
			continue // nothing can write it; it stays in memory
		}
		moved[p] = at
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

// keep asks the disk to keep what was written, as often as it can, and mends the log when the disk takes it again.
func (s *spool) keep() {
	defer close(s.done)
	for {
		select {
		case <-s.dirty:
		case <-s.quit:
			return
		}
		pause := syncEvery
		s.mu.Lock()
		if s.broken != nil {
			if err := s.rotate(); err != nil {
				pause = mendEvery
				s.signal(s.dirty)
			}
		}
		f := s.file
		s.mu.Unlock()
		if f != nil {
			_ = f.Sync() // a segment closed meanwhile was synced as it was closed
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-s.quit:
			t.Stop()
			return
		}
	}
}

// close ends the log's goroutine, syncs the log and closes it. What is told to the spool later it forgets with the process.
func (s *spool) close() error {
	close(s.quit)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.broken != nil {
		err = s.rotate() // the last chance
	}
	s.closed = true
	if s.file == nil {
		return err
	}
	return errors.Join(err, s.file.Sync(), s.file.Close())
}
