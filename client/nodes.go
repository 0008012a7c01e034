package client

import (
	"context"
	"net/http"

	"github.com/rota-dev/rota/job"
)

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context) ([]NodeView, error) {
	var out []NodeView
	return out, c.do(ctx, get(&out, "nodes"))
}

// Node reads one node.
func (c *Client) Node(ctx context.Context, id job.NodeID) (*NodeView, error) {
	return one[NodeView](ctx, c, get(nil, "nodes", string(id)))
}

// NodePatch changes what people say of a node. Absent fields change nothing.
type NodePatch struct {
	Labels       map[string]string `json:"labels,omitempty"`        // to set
	RemoveLabels []string          `json:"remove_labels,omitempty"` // to take away
	Cordoned     *bool             `json:"cordoned,omitempty"`      // false ends a drain too
	Drain        bool              `json:"drain,omitempty"`         // cordons it, and moves work away
	Lease        *job.Duration     `json:"lease,omitempty"`         // how long its lease lives, from 2s to 5m; 0: as its agent was started
}

// PatchNode changes a node.
func (c *Client) PatchNode(ctx context.Context, id job.NodeID, p NodePatch) (*NodeView, error) {
	r, err := (&call{method: http.MethodPatch, path: []string{"nodes", string(id)}, again: true}).json(p)
	if err != nil {
		return nil, err
	}
	return one[NodeView](ctx, c, r)
}

// LabelNode sets labels of a node and takes others away.
func (c *Client) LabelNode(ctx context.Context, id job.NodeID, set map[string]string, remove []string) (*NodeView, error) {
	return c.PatchNode(ctx, id, NodePatch{Labels: set, RemoveLabels: remove})
}

// Cordon keeps new jobs from a node, or no longer.
func (c *Client) Cordon(ctx context.Context, id job.NodeID, cordoned bool) (*NodeView, error) {
	return c.PatchNode(ctx, id, NodePatch{Cordoned: &cordoned})
}

// Drain cordons a node and moves work away from it: its timers start nothing any more. The node's agent says when nothing
// runs there, by Drained. [Client.Cordon] with false takes it back.
func (c *Client) Drain(ctx context.Context, id job.NodeID) (*NodeView, error) {
	return c.PatchNode(ctx, id, NodePatch{Drain: true})
}

// SetLease changes how long a node's lease lives, which is how long it counts as alive after it fell silent; 0: as its
// agent was started. A node that is online follows at once and keeps what it holds.
func (c *Client) SetLease(ctx context.Context, id job.NodeID, lease job.Duration) (*NodeView, error) {
	return c.PatchNode(ctx, id, NodePatch{Lease: &lease})
}

// DeleteNode forgets a node that is gone. One that is online is a conflict.
func (c *Client) DeleteNode(ctx context.Context, id job.NodeID) error {
	return c.do(ctx, &call{method: http.MethodDelete, path: []string{"nodes", string(id)}})
}
