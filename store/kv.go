package store

import (
	"context"
	"errors"
	"time"
)

// kv is etcd as this package needs it. Both implementations pass the same contract suite.
//
// Errors are one of the err values below where etcd gave a definite answer: then nothing was
// written. Every other error is ambiguous: what was asked for may have happened or may happen yet.
type kv interface {
	// Range reads the keys in [key, end), or key alone when end is empty, in their order.
	Range(ctx context.Context, r request) (*rangeResult, error)
	// Txn evaluates the conditions of t and of every transaction nested in it on the state before t; then the
	// branches are applied in order, at one revision. No key may be written twice in it.
	Txn(ctx context.Context, t *txn) (*txnResult, error)
	// Watch streams the changes of [key, end) from a revision on. All changes of one revision come in one
	// result. The channel is closed after a result with an error, and when ctx ends.
	Watch(ctx context.Context, key, end string, rev int64) <-chan watchResult
	// Progress asks that the watches of a context's stream (see onStream) tell how far they are. They do so only when all of them are
	// that far; who needs to know asks again.
	Progress(ctx context.Context) error
	// Grant makes a lease of so many seconds; etcd may make it longer.
	Grant(ctx context.Context, seconds int64) (id, granted int64, err error)
	// KeepAlive renews a lease once.
	KeepAlive(ctx context.Context, id int64) (seconds int64, err error)
	Revoke(ctx context.Context, id int64) error
	// LeaseKeys lists what stands under a lease.
	LeaseKeys(ctx context.Context, id int64) ([]string, error)
	// Alarm is the alarm that etcd has raised, such as NOSPACE, or empty.
	Alarm(ctx context.Context) (string, error)
	Compact(ctx context.Context, rev int64) error
	// Clock is the time by which this store's leases are judged.
	Clock() clock
	Close() error
}

// The definite answers.
var (
	errCompacted     = errors.New("the revision is compacted")
	errFutureRev     = errors.New("the revision is in the future")
	errLeaseNotFound = errors.New("the lease is gone")
	errKeyNotFound   = errors.New("the key to update is gone")
	errDuplicateKey  = errors.New("a key is written twice in one transaction")
	errTooManyOps    = errors.New("too many operations in one transaction")
	errTooLarge      = errors.New("the request is too large")
	errNoSpace       = errors.New("etcd's database is full")
	errDenied        = errors.New("etcd denies permission")
)

// definite tells whether an error is an answer, after which nothing has been written.
func definite(err error) bool {
	for _, e := range [...]error{
		errCompacted, errFutureRev, errLeaseNotFound, errKeyNotFound, errDuplicateKey, errTooManyOps, errTooLarge, errNoSpace, errDenied,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// clock tells the time of day, and the time elapsed on a clock that never jumps and counts suspension.
type clock struct {
	now     func() time.Time
	elapsed func() time.Duration
}

// keyValue is a key as it stands. All revisions are 0 where it does not exist.
type keyValue struct {
	key     string
	value   []byte
	create  int64 // the revision at which it was made
	mod     int64 // the revision at which it was last written
	version int64 // counts its writes
	lease   int64
}

// action says what a request does.
type action int

const (
	get action = iota
	put
	del
	nest
)

// request is one operation.
type request struct {
	action    action
	key, end  string
	value     []byte // of a put
	keepValue bool   // of a put: the value stays, the lease changes
	lease     int64  // of a put
	limit     int64  // of a get; 0: all
	rev       int64  // of a get outside a transaction; 0: now
	keysOnly  bool
	countOnly bool
	txn       *txn // of a nest
}

type rangeResult struct {
	kvs   []keyValue
	count int64 // of the whole range; told only where there is no limit
	more  bool
	rev   int64 // at which it was read, or the newest one when no revision was asked for
}

// target is what a condition looks at.
type target int

const (
	byCreate target = iota // the revision at which the key was made
	byMod                  // of its last write
	byVersion
	byValue
	byLease
)

// compare is a condition on a key, or on every key of a range. A range without keys, and a key
// that is absent, compare as 0; a value that is absent satisfies no comparison.
type compare struct {
	key, end string
	target   target
	op       byte // '=' '!' '<' '>'
	number   int64
	value    []byte
}

type txn struct {
	when            []compare
	then, otherwise []request
	chosen          bool // in memory only: the conditions held
}

type txnResult struct {
	rev     int64
	ok      bool
	results []result
}

// result is that of one request of a transaction.
type result struct {
	kvs     []keyValue // of a get
	count   int64
	deleted int64 // of a del
	txn     *txnResult
}

// change is one event of a watch.
type change struct {
	kv      keyValue // of a deletion: key and mod only
	deleted bool
}

// watchResult is a step of a watch: changes, progress (no changes), or an error.
type watchResult struct {
	changes []change
	rev     int64 // all changes up to it have been delivered
	err     error
}

// absent holds while the key does not exist.
func absent(key string) compare { return compare{key: key, target: byCreate, op: '='} }

// atRevision holds while the key's last write is that revision; 0 means that it is absent.
func atRevision(key string, rev int64) compare {
	return compare{key: key, target: byMod, op: '=', number: rev}
}

// madeAt holds while the key that was made at the revision exists.
func madeAt(key string, rev int64) compare {
	return compare{key: key, target: byCreate, op: '=', number: rev}
}

// prefixEnd is the end of the range of all keys that begin with p, which ends in a slash.
func prefixEnd(p string) string { return p[:len(p)-1] + string('/'+1) }
