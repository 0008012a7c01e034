package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rota-dev/rota/job"
)

// historyKey says which history the cluster's is.
const historyKey = "history"

// HistoryID is the history that all masters of a cluster share.
type HistoryID struct {
	ID    string    `json:"id"`
	Place string    `json:"place"` // for people
	By    string    `json:"by"`    // the master that began it
	Since time.Time `json:"since"`
}

// ShareHistory makes a history that of the cluster, where the cluster has none, and returns the one that it has: the same, or
// another one, which stands. With force the given one takes its place.
func (s *Store) ShareHistory(ctx context.Context, h HistoryID, force bool) (*HistoryID, error) {
	data, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	key := s.full(historyKey)
	t := &txn{then: []request{{action: put, key: key, value: data}}, otherwise: []request{{key: key}}}
	if !force {
		t.when = []compare{absent(key)}
	}
	var r *txnResult
	err = s.attempt(ctx, func(ctx context.Context) (err error) {
		r, err = s.kv.Txn(ctx, t)
		return err
	})
	if err != nil {
		return nil, coded(err, "share the history")
	}
	if r.ok || len(r.results) == 0 || len(r.results[0].kvs) == 0 {
		return &h, nil
	}
	var has HistoryID
	if err := json.Unmarshal(r.results[0].kvs[0].value, &has); err != nil {
		return nil, job.Errorf(job.CodeInternal, "read which history the cluster has: %w", err)
	}
	return &has, nil
}

// asksRoot is where requests that must be made once leave their mark: see [Store.Ask].
const asksRoot = "asks/"

// Ticket is the right to ask for runs, as long as nobody has taken a later one.
type Ticket struct {
	key string // below the prefix
	rev int64
}

// Ask takes a ticket for a task. Who takes it, looks at what was asked before, and asks on the condition [Op.WhileTicket], has seen
// everything that others asked for under earlier tickets, whichever master they asked.
func (s *Store) Ask(ctx context.Context, task job.TaskRef, by string) (Ticket, error) {
	name, err := taskKeys.key(task.Group, task.Name)
	if err != nil {
		return Ticket{}, err
	}
	t := Ticket{key: asksRoot + name}
	var r *txnResult
	err = s.attempt(ctx, func(ctx context.Context) (err error) {
		r, err = s.kv.Txn(ctx, &txn{then: []request{{action: put, key: s.full(t.key), value: []byte(by)}}})
		return err
	})
	if err != nil {
		return Ticket{}, coded(err, "ask for a run of %s", task)
	}
	t.rev = r.rev
	return t, nil
}

// DropTickets removes the mark that tickets leave. Who holds one asks again.
func DropTickets(task job.TaskRef) Op {
	name, err := taskKeys.key(task.Group, task.Name)
	return Op{then: []request{{action: del, key: asksRoot + name}}, err: err}
}

// WhileTicket is the op where nobody has taken a later ticket.
func (op Op) WhileTicket(t Ticket) Op {
	op.when = append(op.when[:len(op.when):len(op.when)], atRevision(t.key, t.rev))
	return op
}
