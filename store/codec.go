package store

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/rota-dev/rota/job"
)

// maxValue is the most bytes of one value: with its key it must fit into a request of etcd, which
// takes 1.5 MiB.
const maxValue = 1 << 20

// Config is one configuration value; Group is empty for the global ones.
type Config struct {
	Group    string `json:"group,omitempty"`
	Key      string `json:"key"`
	Value    string `json:"value"`
	Revision int64  `json:"revision,omitempty"` // the store's, of the version that was read
	// AsOf is the revision of the record whose result set it, as it came from its node; 0: a person did.
	AsOf int64 `json:"as_of,omitempty"`
	// DeletedAt, unless it is zero, is when a person deleted it. It is kept for a while, so that the result of a run from before that
	// does not bring it back.
	DeletedAt time.Time `json:"deleted_at,omitzero"`
}

// Token is an API token. Only the hash of its secret is kept.
type Token struct {
	ID        string    `json:"id"`
	Hash      string    `json:"hash"` // SHA-256 of the secret, hexadecimal
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	Revision  int64     `json:"revision,omitempty"`
}

// Master is a process that serves the API. It stands under the master's own lease; see [Store.Announce].
type Master struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"` // as it was started; no two that are alive share one
	URL     string    `json:"url"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
}

// Floor says up to which instant everything of an interval or alone task is settled: at or below it nothing
// can be claimed any more.
type Floor struct {
	Task     job.TaskRef
	At       time.Time
	Revision int64
}

// kind is what a collection knows about its values.
type kind[T any] struct {
	layout
	sort string // what one is called in messages

	// parts are the parts of a value's key.
	parts func(v *T) []string
	// revision is where a value keeps the revision at which it was read; nil where it has none.
	revision func(v *T) *int64
	// made is where a value keeps the revision at which its key was made; nil where it has none.
	made func(v *T) *int64
	// decode reads the document under the key of these parts, and completes and validates it.
	decode func(data []byte, parts []string) (*T, error)
	// encode writes one.
	encode func(v T) ([]byte, error)
	// bulky values are read in small pages and not kept by watches.
	bulky bool
	// grow, unless nil, says that several watches of one process hear of the same values (see readings), and adds to a value, which it leaves
	// as it is, the fields of a document; not ok where it must be read whole.
	grow func(v *T, more []byte) (_ *T, ok bool)
}

// marshal writes a value and says under which key, below the prefix, it stands.
func (k *kind[T]) marshal(v *T) (key string, data []byte, err error) {
	if v == nil {
		return "", nil, job.Errorf(job.CodeInvalid, "there is no %s", k.sort)
	}
	if key, err = k.key(k.parts(v)...); err != nil {
		return "", nil, err
	}
	c := *v
	if k.revision != nil {
		*k.revision(&c) = 0
	}
	if data, err = k.encode(c); err != nil {
		return "", nil, job.Errorf(job.CodeInvalid, "write %s: %w", key, err)
	}
	if len(data) > maxValue {
		return "", nil, job.Errorf(job.CodeExhausted, "%s has %d bytes, at most %d are allowed", key, len(data), maxValue)
	}
	return key, data, nil
}

// unmarshal reads the document that stands under a key, below the prefix. A document that names another key
// than its own is not read.
func (k *kind[T]) unmarshal(key string, e *keyValue) (*T, error) {
	parts, err := k.parse(key)
	if err != nil {
		return nil, err
	}
	v, err := k.decode(e.value, parts)
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "read %s: %w", key, err)
	}
	if own := k.parts(v); !slices.Equal(own, parts) {
		return nil, job.Errorf(job.CodeInvalid, "read %s: the document is that of %q", key, own)
	}
	k.stamp(v, e)
	return v, nil
}

// stamp completes a value with what its key says.
func (k *kind[T]) stamp(v *T, e *keyValue) {
	if k.revision != nil {
		*k.revision(v) = e.mod
	}
	if k.made != nil {
		*k.made(v) = e.create
	}
}

func encodeJSON[T any](v T) ([]byte, error) { return json.Marshal(&v) }

// decodeJSON reads plain JSON and validates it.
func decodeJSON[T any](valid func(*T) error) func([]byte, []string) (*T, error) {
	return func(data []byte, _ []string) (*T, error) {
		v := new(T)
		if err := json.Unmarshal(data, v); err != nil {
			return nil, err
		}
		if valid != nil {
			if err := valid(v); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
}

// The kinds of all collections.
var (
	taskKind = &kind[job.TaskEntry]{
		layout: taskKeys, sort: "task", encode: encodeJSON[job.TaskEntry],
		parts:    func(e *job.TaskEntry) []string { return []string{e.Ref().Group, e.Task.Name} },
		revision: func(e *job.TaskEntry) *int64 { return &e.Revision },
		decode:   decodeJSON(func(e *job.TaskEntry) error { return e.Task.Valid() }),
	}
	nodeKind = &kind[job.Node]{
		layout: nodeKeys, sort: "node", encode: encodeJSON[job.Node],
		parts:    func(n *job.Node) []string { return []string{string(n.ID)} },
		revision: func(n *job.Node) *int64 { return &n.Revision },
		decode:   decodeJSON((*job.Node).Valid),
	}
	onlineKind = &kind[job.Presence]{
		layout: onlineKeys, sort: "presence", encode: encodeJSON[job.Presence],
		parts:  func(p *job.Presence) []string { return []string{string(p.Node)} },
		decode: decodeJSON[job.Presence](nil),
	}
	jobKind = &kind[job.Job]{
		layout: jobKeys, sort: "job",
		parts: func(j *job.Job) []string { return []string{string(j.NodeID), j.Hash} },
		encode: func(j job.Job) ([]byte, error) {
			j.RunStatus, j.AvgTime = nil, 0
			return json.Marshal(&j)
		},
		decode: func(data []byte, _ []string) (*job.Job, error) {
			j := new(job.Job)
			return j, j.Decode(data)
		},
	}
	dispatchKind = &kind[job.Dispatch]{
		layout: dispatchKeys, sort: "dispatch", encode: encodeJSON[job.Dispatch], grow: growDispatch,
		parts:    func(d *job.Dispatch) []string { return []string{string(d.Node), string(d.Run)} },
		revision: func(d *job.Dispatch) *int64 { return &d.Revision },
		decode:   decodeJSON((*job.Dispatch).Valid),
	}
	killKind = &kind[job.Kill]{
		layout: killKeys, sort: "kill", encode: encodeJSON[job.Kill],
		parts:  func(k *job.Kill) []string { return []string{string(k.Node), string(k.Run)} },
		decode: decodeJSON[job.Kill](nil),
	}
	processKind = &kind[job.Process]{
		layout: processKeys, sort: "process", encode: encodeJSON[job.Process],
		parts:  func(p *job.Process) []string { return []string{string(p.NodeID), p.Group, p.JobID, p.ID} },
		decode: decodeJSON[job.Process](nil),
	}
	recordKind = &kind[job.ExecutionRecord]{
		layout: recordKeys, sort: "record", encode: encodeJSON[job.ExecutionRecord], bulky: true,
		parts: func(r *job.ExecutionRecord) []string { return []string{string(r.Node), RecordName(r)} },
		decode: func(data []byte, _ []string) (*job.ExecutionRecord, error) {
			r, err := job.ParseExecutionRecord(data)
			return &r, err
		},
	}
	claimKind = &kind[job.Claim]{
		layout: claimKeys, sort: "claim", encode: encodeJSON[job.Claim],
		parts: func(c *job.Claim) []string {
			return []string{c.Task.Group, c.Task.Name, job.FormatInstant(c.Instant)}
		},
		made:   func(c *job.Claim) *int64 { return &c.Fence },
		decode: decodeJSON[job.Claim](nil),
	}
	lockKind = &kind[job.Lock]{
		layout: lockKeys, sort: "lock", encode: encodeJSON[job.Lock],
		parts:  func(l *job.Lock) []string { return []string{l.Task.Group, l.Task.Name} },
		made:   func(l *job.Lock) *int64 { return &l.Fence },
		decode: decodeJSON[job.Lock](nil),
	}
	// A floor's value is its instant alone, as text, because claims compare it with theirs.
	floorKind = &kind[Floor]{
		layout: floorKeys, sort: "floor",
		parts:    func(f *Floor) []string { return []string{f.Task.Group, f.Task.Name} },
		revision: func(f *Floor) *int64 { return &f.Revision },
		encode:   func(f Floor) ([]byte, error) { return []byte(job.FormatInstant(f.At)), nil },
		decode: func(data []byte, parts []string) (*Floor, error) {
			at, err := job.ParseInstant(string(data))
			return &Floor{Task: job.TaskRef{Group: parts[0], Name: parts[1]}, At: at}, err
		},
	}
	configKind = &kind[Config]{
		layout: configKeys, sort: "configuration", encode: encodeJSON[Config],
		parts:    func(c *Config) []string { return []string{c.Group, c.Key} },
		revision: func(c *Config) *int64 { return &c.Revision },
		decode:   decodeJSON[Config](nil),
	}
	calendarKind = &kind[job.CalendarEntry]{
		layout: calendarKeys, sort: "calendar", encode: encodeJSON[job.CalendarEntry],
		parts:    func(c *job.CalendarEntry) []string { return []string{c.Calendar.Name} },
		revision: func(c *job.CalendarEntry) *int64 { return &c.Revision },
		decode:   decodeJSON((*job.CalendarEntry).Valid),
	}
	clockKind = &kind[job.ClockSample]{
		layout: clockKeys, sort: "clock", encode: encodeJSON[job.ClockSample],
		parts:  func(c *job.ClockSample) []string { return []string{string(c.Node)} },
		decode: decodeJSON[job.ClockSample](nil),
	}
	replaceKind = &kind[job.Replacement]{
		layout: replaceKeys, sort: "replacement", encode: encodeJSON[job.Replacement],
		parts:  func(r *job.Replacement) []string { return []string{string(r.Node), string(r.Run)} },
		decode: decodeJSON[job.Replacement](nil),
	}
	followKind = &kind[job.Follow]{
		layout: followKeys, sort: "follow", encode: encodeJSON[job.Follow],
		parts:  func(f *job.Follow) []string { return []string{string(f.Node), f.ID} },
		decode: decodeJSON[job.Follow](nil),
	}
	tokenKind = &kind[Token]{
		layout: tokenKeys, sort: "token", encode: encodeJSON[Token],
		parts:    func(t *Token) []string { return []string{t.ID} },
		revision: func(t *Token) *int64 { return &t.Revision },
		decode:   decodeJSON[Token](nil),
	}
	masterKind = &kind[Master]{
		layout: masterKeys, sort: "master", encode: encodeJSON[Master],
		parts:  func(m *Master) []string { return []string{m.ID} },
		decode: decodeJSON[Master](nil),
	}
)
