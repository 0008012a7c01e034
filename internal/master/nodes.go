package master

import (
	"cmp"
	"context"
	"slices"

	"github.com/rota-dev/rota/job"
)

// Nodes lists the nodes.
func (m *Master) Nodes(context.Context) ([]NodeView, error) {
	list := []NodeView{}
	m.view.with(func() {
		running := m.view.runningByNode()
		for id := range m.view.nodes {
			list = append(list, m.view.nodeView(id, running))
		}
	})
	slices.SortFunc(list, func(a, b NodeView) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

func (v *view) runningByNode() map[job.NodeID]int {
	n := map[job.NodeID]int{}
	for _, p := range v.processes {
		n[p.NodeID]++
	}
	return n
}

func (v *view) nodeView(id job.NodeID, running map[job.NodeID]int) NodeView {
	n := NodeView{Node: *v.nodes[id], Jobs: v.perNode[id], Running: running[id]}
	if p := v.online[id]; p != nil {
		n.Online, n.Since, n.Session = true, p.Since, p.Session
		n.Skew = v.skewSeconds(id)
	}
	return n
}

// Node shows one node.
func (m *Master) Node(ctx context.Context, id job.NodeID) (*NodeView, error) {
	return surely(ctx, m, func() (*NodeView, error) { return m.node(ctx, id) })
}

func (m *Master) node(_ context.Context, id job.NodeID) (*NodeView, error) {
	var n NodeView
	var names []string
	found := false
	m.view.with(func() {
		if found = m.view.nodes[id] != nil; found {
			n = m.view.nodeView(id, m.view.runningByNode())
		}
		for other := range m.view.nodes {
			names = append(names, string(other))
		}
	})
	if !found {
		return nil, job.Errorf(job.CodeNotFound, "there is no node %s", id).WithHint("%s", nearHint(string(id), names, "rota get nodes"))
	}
	return &n, nil
}

// LabelNode sets labels of a node and removes others.
func (m *Master) LabelNode(ctx context.Context, id job.NodeID, set map[string]string, remove []string) (*NodeView, error) {
	return m.editNode(ctx, id, func(n *job.Node) {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		for k, v := range set {
			n.Labels[k] = v
		}
		for _, k := range remove {
			delete(n.Labels, k)
		}
	})
}

// Cordon keeps new jobs and runs from a node, or lets them come again.
func (m *Master) Cordon(ctx context.Context, id job.NodeID, cordoned bool) (*NodeView, error) {
	return m.editNode(ctx, id, func(n *job.Node) {
		if n.Cordoned = cordoned; !cordoned {
			n.Draining, n.Drained = false, false
		}
	})
}

// SetLease changes how long a node's lease lives, while its agent runs; 0: as the agent was started.
func (m *Master) SetLease(ctx context.Context, id job.NodeID, lease job.Duration) (*NodeView, error) {
	return m.editNode(ctx, id, func(n *job.Node) { n.Lease = lease })
}

// Drain cordons a node and has its timers start nothing any more. Its agent tells when nothing runs there: Drained. Uncordon
// takes it back.
func (m *Master) Drain(ctx context.Context, id job.NodeID) (*NodeView, error) {
	return m.editNode(ctx, id, func(n *job.Node) { n.Cordoned, n.Draining = true, true })
}

func (m *Master) editNode(ctx context.Context, id job.NodeID, edit func(*job.Node)) (*NodeView, error) {
	for {
		n, err := m.store().Nodes().Get(ctx, string(id))
		if job.IsNotFound(err) {
			if _, advice := m.Node(ctx, id); advice != nil {
				return nil, advice
			}
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		edit(n)
		if err := n.Valid(); err != nil {
			return nil, err
		}
		rev, err := m.store().Nodes().Put(ctx, n)
		if job.IsConflict(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m.view.await(ctx, func() bool { v := m.view.nodes[id]; return v == nil || v.Revision >= rev })
		return m.Node(ctx, id)
	}
}

// DeleteNode removes a node that is gone for good, and its jobs. A node that is online is not removed: it would
// register again.
func (m *Master) DeleteNode(ctx context.Context, id job.NodeID) error {
	n, err := m.Node(ctx, id)
	if err != nil {
		return err
	}
	if n.Online {
		if err := m.view.catchUp(ctx); err != nil {
			return err
		}
		if n, err = m.Node(ctx, id); err != nil {
			return err
		}
	}
	if n.Online {
		return job.Errorf(job.CodeConflict, "node %s is online", id).WithHint("stop its agent first")
	}
	if err := m.store().Nodes().Delete(ctx, 0, string(id)); err != nil {
		return err
	}
	m.view.await(ctx, func() bool { return m.view.nodes[id] == nil })
	return nil
}
