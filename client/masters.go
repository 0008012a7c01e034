package client

import (
	"context"
	"net/http"
	"time"
)

// MasterView is a master that is alive.
type MasterView struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"` // as it was started
	URL     string    `json:"url"`            // where its API is reached
	Version string    `json:"version"`
	Since   time.Time `json:"since"`   // when it started
	Leader  bool      `json:"leader"`  // it decides
	Answers bool      `json:"answers"` // it is the one that was asked
}

// Masters lists the masters that are alive, the leader first.
func (c *Client) Masters(ctx context.Context) ([]MasterView, error) {
	var out []MasterView
	return out, c.do(ctx, get(&out, "masters"))
}

// Member is one of the servers of etcd.
type Member struct {
	ID         string   `json:"id"`             // hexadecimal
	Name       string   `json:"name,omitempty"` // empty before its first start
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls,omitempty"`
	Voter      bool     `json:"voter"`   // false: it was added, and has not caught up yet
	Leader     bool     `json:"leader"`  // of etcd, not of the masters
	Answers    bool     `json:"answers"` // the master that was asked reaches it
}

// Members lists the servers of etcd.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var out []Member
	return out, c.do(ctx, get(&out, "members"))
}

// AddMember tells etcd of a member that is about to start, at the address where the others reach it. It may be told again.
func (c *Client) AddMember(ctx context.Context, peerURL string) (*Member, error) {
	r, err := post(nil, "members").json(map[string]string{"peer_url": peerURL})
	if err != nil {
		return nil, err
	}
	r.again = true
	return one[Member](ctx, c, r)
}

// RemoveMember takes a member out of etcd, by its name or id. It is refused where the others could not go on.
func (c *Client) RemoveMember(ctx context.Context, name string) (*Member, error) {
	return one[Member](ctx, c, &call{method: http.MethodDelete, path: []string{"members", name}})
}
