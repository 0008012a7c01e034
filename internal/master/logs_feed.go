package master

import (
	"time"

	"github.com/rota-dev/rota/job"
)

// feed is a window over the log of a run, at whose head a node adds what its followers want. Its desk's lock guards it.
type feed struct {
	desk   *logDesk
	follow *job.Follow
	born   int64 // counts the feeds
	began  time.Time

	pieces []piece
	first  int64 // the number of pieces[0]
	size   int
	head   job.LogPosition // what is wanted next

	called time.Time // when the node was last heard of; zero: never
	quiet  bool      // the node had nothing more to read for a moment
	gone   bool      // the node has nothing more at the head, and never will
	over   bool

	users   int
	waiting int           // followers that have read everything
	turn    int64         // counts what was added: who waits since before that does not count
	more    chan struct{} // closed and made anew when there is something to read
	demand  chan struct{} // closed and made anew when somebody wants more
}

// piece is a part of the window. It begins at at; chunk is what the run wrote there, unless it marks that an attempt's log ends,
// or is not there.
type piece struct {
	at    job.LogPosition
	chunk *job.Chunk
	mark  pieceMark
	cost  int
}

type pieceMark int

const (
	noMark   pieceMark = iota
	complete           // the attempt's log ends here
	torn               // it breaks off here
	skipped            // of the attempt nothing more is kept
)

// end is where the log goes on after the piece.
func (p *piece) end() job.LogPosition {
	if p.mark != noMark {
		return job.LogPosition{Attempt: p.at.Attempt + 1}
	}
	return job.LogPosition{Attempt: p.at.Attempt, Offset: max(p.at.Offset, p.chunk.End())}
}

// take adds a batch at the head. One that begins elsewhere changes nothing.
func (f *feed) take(b *job.LogBatch) error {
	if b.At != f.head || f.over {
		return nil
	}
	if len(b.Chunks) > job.MaxLogChunks {
		return job.Errorf(job.CodeInvalid, "a batch has %d chunks, at most %d are allowed", len(b.Chunks), job.MaxLogChunks)
	}
	if b.Next > f.head.Attempt+job.MaxLogChunks {
		return job.Errorf(job.CodeInvalid, "a batch goes on with attempt %d, after attempt %d", b.Next, f.head.Attempt)
	}
	at, bytes := f.head, 0
	for i := range b.Chunks {
		c := &b.Chunks[i]
		if bytes += len(c.Data); bytes > job.MaxLogBatch {
			return job.Errorf(job.CodeInvalid, "a batch has more than %d bytes of output", job.MaxLogBatch)
		}
		if c.Offset < at.Offset || c.Stream != "" && !c.Stream.Valid() {
			return job.Errorf(job.CodeInvalid, "a batch is not in order at offset %d", c.Offset)
		}
		at.Offset = c.End()
	}
	added := len(b.Chunks) > 0 || b.Complete || b.Torn || b.Missing && b.Next > f.head.Attempt
	for i := range b.Chunks {
		f.add(piece{at: f.head, chunk: &b.Chunks[i], cost: len(b.Chunks[i].Data) + len(b.Chunks[i].Note) + pieceCost})
	}
	switch {
	case b.Torn:
		f.add(piece{at: f.head, mark: torn, cost: pieceCost})
	case b.Complete:
		f.add(piece{at: f.head, mark: complete, cost: pieceCost})
	case b.Missing && b.Next > f.head.Attempt:
		for f.head.Attempt < b.Next {
			f.add(piece{at: f.head, mark: skipped, cost: pieceCost})
		}
	}
	told := added || b.Quiet != f.quiet || b.Gone != f.gone
	f.quiet, f.gone = b.Quiet, b.Gone
	if added {
		f.turn++
		f.waiting = 0
	}
	if told {
		close(f.more)
		f.more = make(chan struct{})
	}
	return nil
}

// add puts a piece at the head, and lets go of what the window has no room for.
func (f *feed) add(p piece) {
	f.pieces = append(f.pieces, p)
	f.size += p.cost
	f.head = p.end()
	drop := 0
	for f.size > logWindow && drop < len(f.pieces)-1 {
		f.size -= f.pieces[drop].cost
		drop++
	}
	if drop > 0 {
		clear(f.pieces[:drop])
		f.pieces, f.first = f.pieces[drop:], f.first+int64(drop)
	}
}

// better tells whether it serves a follower better than another feed of the run, of which it is told that it has all that
// follower wants.
func (f *feed) better(than *feed) bool {
	if c := f.head.Compare(than.head); c != 0 {
		return c > 0
	}
	return f.born < than.born
}

// find tells with which piece somebody goes on who stands at a position, if that is within so many bytes of the head.
func (f *feed) find(at job.LogPosition, near int) (place int, ok bool) {
	if f.over || at.Compare(f.head) > 0 {
		return 0, false
	}
	place = len(f.pieces)
	for cost := 0; place > 0; place-- {
		p := &f.pieces[place-1]
		if p.end().Compare(at) <= 0 && p.at.Compare(at) < 0 {
			break // all of it is read
		}
		if cost += p.cost; cost > near {
			return 0, false
		}
	}
	begins := f.head
	if place < len(f.pieces) {
		begins = f.pieces[place].at
	}
	return place, begins.Compare(at) <= 0
}

// seat is a follower's place in a feed.
type seat struct {
	f    *feed
	next int64 // the number of the next piece
	turn int64 // when it last waited; -1: it does not
}

func (f *feed) seat(place int) *seat {
	f.users++
	return &seat{f: f, next: f.first + int64(place), turn: -1}
}

// read gives some of what is to be read, and where there is nothing a channel that is closed when that changes. behind tells that the
// window has moved on past the seat.
func (s *seat) read() (pieces []piece, more <-chan struct{}, behind bool) {
	f := s.f
	f.desk.mu.Lock()
	defer f.desk.mu.Unlock()
	if s.next < f.first {
		return nil, nil, true
	}
	const most = 64
	from := int(s.next - f.first)
	to := min(from+most, len(f.pieces))
	if to > from {
		s.next += int64(to - from)
		return append(pieces, f.pieces[from:to]...), nil, false
	}
	if s.turn != f.turn {
		s.turn = f.turn
		f.waiting++
		close(f.demand)
		f.demand = make(chan struct{})
	}
	return nil, f.more, false
}

// status is what is known of the node's side.
type feedStatus struct {
	began, called time.Time
	quiet, gone   bool
}

func (s *seat) status() feedStatus {
	s.f.desk.mu.Lock()
	defer s.f.desk.mu.Unlock()
	return feedStatus{s.f.began, s.f.called, s.f.quiet, s.f.gone}
}

// closer moves to a feed that is further and not far from here, so that those who read the same are served once.
func (s *seat) closer(at job.LogPosition) *seat {
	d, f := s.f.desk, s.f
	d.mu.Lock()
	better := d.seatAt(f.follow.Run, f.follow.Node, at, logWindow/4, f)
	d.mu.Unlock()
	if better == nil {
		return s
	}
	s.leave()
	return better
}

// leave gives the seat up. A feed that nobody reads ends.
func (s *seat) leave() {
	f := s.f
	f.desk.mu.Lock()
	defer f.desk.mu.Unlock()
	if s.turn == f.turn {
		f.waiting--
	}
	if f.users--; f.users > 0 || f.over {
		return
	}
	f.over = true
	close(f.demand)
	f.demand = make(chan struct{})
	delete(f.desk.feeds, f.follow.ID)
	f.desk.touch()
}
