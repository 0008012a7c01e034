package master

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Masters lists the masters that are alive, the leader first.
func (m *Master) Masters(ctx context.Context) ([]client.MasterView, error) {
	leader, _, err := m.store().Leader(ctx)
	if err != nil {
		return nil, err
	}
	all, _, err := m.store().Masters().List(ctx)
	if err != nil {
		return nil, err
	}
	var out []client.MasterView
	for _, x := range all {
		out = append(out, client.MasterView{
			ID: x.ID, Name: x.Name, URL: x.URL, Version: x.Version, Since: x.Since, Leader: x.ID == leader, Answers: x.ID == m.ID,
		})
	}
	slices.SortFunc(out, func(a, b client.MasterView) int {
		if a.Leader != b.Leader {
			if a.Leader {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return out, nil
}

// minTerm is the shortest lease that etcd grants a leader in a cluster.
const minTerm = 2 * time.Second

// term is how long a leader that fell silent counts as one: half of what a node does. Where it dies together with etcd's own leader,
// etcd elects another one first, and then gives every lease its whole length again: then the leader's silence tells ([store.Store.Campaign]).
func (m *Master) term() time.Duration { return max(m.Lease/2, minTerm) }

// twin finds another master of the same name that was announced before this one. Of two that announce themselves at once, the
// later one sees the earlier one.
func (m *Master) twin(ctx context.Context) error {
	if m.Name == "" {
		return nil
	}
	all, err := m.store().Masters().First(ctx, 10000)
	if err != nil {
		return nil //nolint:nilerr // it is asked again with the next announcement
	}
	mine := slices.IndexFunc(all, func(e store.Entry[store.Master]) bool { return e.Value != nil && e.Value.ID == m.ID })
	if mine < 0 {
		return nil
	}
	for _, e := range all {
		if e.Value != nil && e.Value.Name == m.Name && e.Revision < all[mine].Revision {
			return job.Errorf(job.CodeConflict, "another master %s is alive, at %s", m.Name, e.Value.URL).
				WithHint("give this one a name of its own with --name")
		}
	}
	return nil
}

// turn is the lock under which this master asks for runs of a task by a key.
func (m *Master) turn(task job.TaskRef) *sync.Mutex {
	h := fnv.New32a()
	h.Write([]byte(task.String()))
	return &m.turns[h.Sum32()%uint32(len(m.turns))]
}

// Members lists the servers of etcd.
func (m *Master) Members(ctx context.Context) ([]client.Member, error) {
	all, err := m.store().Members(ctx)
	out := make([]client.Member, len(all))
	for i, x := range all {
		out[i] = client.Member(x)
	}
	return out, err
}

// AddMember tells etcd of a member that is about to start.
func (m *Master) AddMember(ctx context.Context, peerURL string) (*client.Member, error) {
	x, err := m.store().AddMember(ctx, peerURL)
	return (*client.Member)(x), err
}

// RemoveMember takes a member out of etcd.
func (m *Master) RemoveMember(ctx context.Context, name string) (*client.Member, error) {
	x, err := m.store().RemoveMember(ctx, name)
	return (*client.Member)(x), err
}
