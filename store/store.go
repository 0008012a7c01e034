package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// How long one request to etcd may take. A write that takes longer is asked again, with more time each time: a
// member that died in the midst of it costs little, and one that is slow is not flooded.
const (
	attemptTimeout      = 5 * time.Second
	firstAttemptTimeout = 2 * time.Second
	lastAttemptTimeout  = 10 * time.Second
)

// DefaultRelist is how often a watch compares what it knows with what is there.
const DefaultRelist = 10 * time.Minute

// Store is Rota's state in one etcd, below one prefix. It is safe for concurrent use.
type Store struct {
	kv     kv
	prefix string
	log    *slog.Logger
	clock  clock
	relist time.Duration

	ctx    context.Context // ends with the store
	cancel context.CancelFunc
	mu     sync.Mutex     // no goroutine begins once the store has ended
	wg     sync.WaitGroup // of watches, sessions and leaderships
	once   sync.Once
	closed error

	turns    turns
	noted    notes
	readings map[string]any // by the root of the kind
}

func newStore(backend kv, prefix string, log *slog.Logger) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{kv: backend, prefix: prefix, log: log, clock: backend.Clock(), relist: DefaultRelist, readings: map[string]any{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends every watch, session, and leadership of the store, and its connection. Leases that were not
// given back run out by themselves.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.cancel()
		s.mu.Unlock()
		s.wg.Wait()
		s.closed = s.kv.Close()
	})
	return s.closed
}

// spawn runs f, and Close waits for it. It returns false where the store has ended.
func (s *Store) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.wg.Go(f)
	return true
}

var errClosed error = job.Errorf(job.CodeUnavailable, "the store is closed")

// Ping tells whether etcd answers, and not from memory: a majority of its members must agree.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.Revision(ctx)
	return err
}

// Revision is that of etcd's newest change, as a majority of its members knows it now: whatever anybody was told is
// written has none that is later.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	r, err := s.kv.Range(ctx, request{key: s.prefix + leaderKey, keysOnly: true})
	if err != nil {
		return 0, coded(err, "reach etcd")
	}
	return r.rev, nil
}

// Alarm is the alarm that etcd has raised, such as NOSPACE when its quota is used up; empty: none.
func (s *Store) Alarm(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	alarm, err := s.kv.Alarm(ctx)
	return alarm, coded(err, "read etcd's alarms")
}

// Tasks are the tasks: group, name.
func (s *Store) Tasks() *Collection[job.TaskEntry] { return &Collection[job.TaskEntry]{s, taskKind} }

// Nodes are the nodes, alive or not.
func (s *Store) Nodes() *Collection[job.Node] { return &Collection[job.Node]{s, nodeKind} }

// Online are the nodes that are alive: each under its session's lease, see [Store.Join].
func (s *Store) Online() *Collection[job.Presence] { return &Collection[job.Presence]{s, onlineKind} }

// Jobs are the jobs: node, hash. The leader alone writes them, by [PutJob].
func (s *Store) Jobs() *Collection[job.Job] { return &Collection[job.Job]{s, jobKind} }

// Dispatches are the runs that were asked for: node, run.
func (s *Store) Dispatches() *Collection[job.Dispatch] {
	return &Collection[job.Dispatch]{s, dispatchKind}
}

// Kills are the requests to end runs: node, run.
func (s *Store) Kills() *Collection[job.Kill] { return &Collection[job.Kill]{s, killKind} }

// Processes are the runs that are alive: node, group, job, pid. Sessions write them.
func (s *Store) Processes() *Collection[job.Process] { return &Collection[job.Process]{s, processKind} }

// Records are those on their way to history: node (empty: none), id.
func (s *Store) Records() *Collection[job.ExecutionRecord] {
	return &Collection[job.ExecutionRecord]{s, recordKind}
}

// Claims are the claimed instants: group, task, instant as [job.FormatInstant] writes it.
func (s *Store) Claims() *Collection[job.Claim] { return &Collection[job.Claim]{s, claimKind} }

// Locks are held by the runs of alone tasks: group, task.
func (s *Store) Locks() *Collection[job.Lock] { return &Collection[job.Lock]{s, lockKind} }

// Settled are the floors of the interval and alone tasks: group, task. The leader raises them by [Settle].
func (s *Store) Settled() *Collection[Floor] { return &Collection[Floor]{s, floorKind} }

// Config is the configuration: group (empty: global), key.
func (s *Store) Config() *Collection[Config] { return &Collection[Config]{s, configKind} }

// Calendars are the named calendars: name.
func (s *Store) Calendars() *Collection[job.CalendarEntry] {
	return &Collection[job.CalendarEntry]{s, calendarKind}
}

// Clocks are what clocks showed: node (empty: the leader's). Nodes write theirs by [Session.PutClock].
func (s *Store) Clocks() *Collection[job.ClockSample] {
	return &Collection[job.ClockSample]{s, clockKind}
}

// Replacements are runs that wait for the end of another: node, run. Sessions write them.
func (s *Store) Replacements() *Collection[job.Replacement] {
	return &Collection[job.Replacement]{s, replaceKind}
}

// Follows are the logs that masters ask nodes for: node, id. Masters write them by [Announcement.Follow].
func (s *Store) Follows() *Collection[job.Follow] { return &Collection[job.Follow]{s, followKind} }

// Tokens are the API tokens: id.
func (s *Store) Tokens() *Collection[Token] { return &Collection[Token]{s, tokenKind} }

// Masters are the masters that are alive: id. They stand under leases, see [Store.Announce].
func (s *Store) Masters() *Collection[Master] { return &Collection[Master]{s, masterKind} }

// full is a key or a range as etcd has it.
func (s *Store) full(key string) string {
	if key == "" {
		return ""
	}
	return s.prefix + key
}

// coded gives an error of kv the code that the world above knows. One that has a code stays as it is.
func coded(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	var known *job.Error
	if errors.As(err, &known) {
		return err
	}
	what := fmt.Sprintf(format, args...)
	switch {
	case errors.Is(err, errNoSpace), errors.Is(err, errTooLarge):
		return job.Errorf(job.CodeExhausted, "%s: %w", what, err)
	case errors.Is(err, errDenied):
		return job.Errorf(job.CodeForbidden, "%s: %w", what, err)
	case definite(err) && !errors.Is(err, errLeaseNotFound) && !errors.Is(err, errCompacted):
		return job.Errorf(job.CodeInternal, "%s: %w", what, err)
	}
	return job.Errorf(job.CodeUnavailable, "%s: %w", what, err)
}

// backoff is a wait that doubles from min to max, with jitter; a success resets it.
type backoff struct {
	min, max, next time.Duration
}

// delay is how long to wait now.
func (b *backoff) delay() time.Duration {
	b.next = min(max(b.next*2, b.min), b.max)
	return b.next/2 + rand.N(b.next/2+1)
}

// wait pauses, or returns false when ctx ends before.
func (b *backoff) wait(ctx context.Context) bool { return sleep(ctx, b.delay()) }

func (b *backoff) reset() { b.next = 0 }

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt runs f, each time with a bounded time, until it gives a definite answer or ctx ends.
func (s *Store) attempt(ctx context.Context, f func(ctx context.Context) error) error {
	b := backoff{min: 20 * time.Millisecond, max: time.Second}
	for limit := firstAttemptTimeout; ; limit = min(2*limit, lastAttemptTimeout) {
		once, cancel := context.WithTimeout(ctx, limit)
		err := f(once)
		cancel()
		if err == nil || definite(err) {
			return err
		}
		if ctx.Err() != nil || !b.wait(ctx) {
			return err
		}
	}
}

// notes remembers which documents have been complained of, so that each version is logged once.
type notes struct {
	mu   sync.Mutex
	seen map[string]int64
}

const maxNotes = 1000

func (n *notes) first(key string, rev int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[key] == rev {
		return false
	}
	if n.seen == nil || len(n.seen) >= maxNotes {
		n.seen = map[string]int64{}
	}
	n.seen[key] = rev
	return true
}

// unreadable reports a document that stays where it is.
func (s *Store) unreadable(key string, rev int64, err error) {
	if s.noted.first(key, rev) {
		s.log.Warn("a document is left alone, because it cannot be read", "key", key, "revision", rev, "error", err)
	}
}
