//go:build linux

package runner

import (
	"log/slog"
	"sync"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

const (
	// logAfter is how long a run must live, unless it writes much, to get a log of its own.
	logAfter = time.Second
	// maxQueue is how many bytes may wait for the disk. Where more do, the run's pipes are not read, so that it waits for
	// the disk as it would if it wrote there itself.
	maxQueue = 256 << 10
)

// logged is the way of an execution's output into the node's log. What the loop hands it is written by a goroutine that lives
// while there is something to write.
type logged struct {
	dir     *runlog.Dir
	id      runlog.ID
	log     *slog.Logger
	created chan struct{} // closed when the log is there, or is known not to come
	done    chan struct{} // closed when everything was written after the end

	mu      sync.Mutex
	queue   []piece
	size    int // of what was handed over and isn't written yet
	busy    bool
	ended   bool
	waiting []*source

	w     *runlog.Writer // the goroutine's
	tried bool
}

type piece struct {
	stream job.Stream
	at     time.Time
	data   []byte
}

// publish begins the log, with what was written so far. x.mu is held.
func (x *execution) publish() {
	if x.log != nil || x.ended || x.r.logs == nil {
		return
	}
	x.log = &logged{
		dir: x.r.logs, id: x.logID, log: x.r.log, created: make(chan struct{}), done: make(chan struct{}),
	}
	x.log.mu.Lock()
	defer x.log.mu.Unlock()
	x.out.whole(func(stream job.Stream, at time.Time, p []byte) {
		x.log.add(piece{stream, at, p})
	})
	x.log.work()
}

// Publish makes the output so far readable in the node's log, and what follows as it comes.
func (x *execution) Publish() {
	x.mu.Lock()
	x.publish()
	l := x.log
	x.mu.Unlock()
	if l != nil {
		<-l.created
	}
}

// put hands over what came; data are copied. A source whose run is ahead of the disk is not read until that has caught up.
// The execution's mu is held.
func (l *logged) put(s *source, at time.Time, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(piece{s.stream, at, append([]byte(nil), data...)})
	l.work()
	if l.size > maxQueue && !s.paused && s.fd >= 0 {
		s.paused = true
		s.x.r.loop.pause(s.fd)
		l.waiting = append(l.waiting, s)
	}
}

// add is called with mu held.
func (l *logged) add(p piece) {
	l.queue = append(l.queue, p)
	l.size += len(p.data)
}

// work makes sure that somebody writes. mu is held.
func (l *logged) work() {
	if !l.busy {
		l.busy = true
		go l.write()
	}
}

// end lets the log be closed when everything is written, and returns what is closed then.
func (l *logged) end() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.work()
	return l.done
}

// write takes what is in the queue to the disk, until it is empty.
func (l *logged) write() {
	if !l.tried {
		l.tried = true
		w, err := l.dir.Create(l.id)
		if err != nil {
			l.log.Warn("a run has no log; its output stays in its record alone", "run", l.id.Run, "attempt", l.id.Attempt, "error", err)
		}
		l.w = w
		close(l.created)
	}
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		if len(queue) == 0 {
			l.busy = false
			over := l.ended
			l.mu.Unlock()
			if over {
				l.close()
			}
			return
		}
		l.mu.Unlock()
		n := 0
		for _, p := range queue {
			if l.w != nil {
				l.w.Write(p.stream, p.at, p.data)
			}
			n += len(p.data)
		}
		l.mu.Lock()
		l.size -= n
		var waiting []*source
		if l.size <= maxQueue/2 {
			waiting, l.waiting = l.waiting, nil
		}
		l.mu.Unlock()
		for _, s := range waiting {
			s.resume()
		}
	}
}

func (l *logged) close() {
	if l.w != nil {
		if err := l.w.Close(); err != nil {
			l.log.Warn("the log of a run is not complete", "error", err)
		}
	}
	close(l.done)
}

// resume has the source read again.
func (s *source) resume() {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	if !s.paused {
		return
	}
	s.paused = false
	if s.fd < 0 {
		return
	}
	if err := s.x.r.loop.watch(s.fd, s, false); err != nil {
		s.x.r.log.Error("output can't be watched", "pid", s.x.pid, "error", err)
	}
}
