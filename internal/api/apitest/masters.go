package apitest

import (
	"context"
	"slices"
	"strconv"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// Masters implements api.Master: there is one.
func (m *Master) Masters(context.Context) ([]client.MasterView, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []client.MasterView{{ID: "m1-0001", Name: "m1", Leader: true, Answers: true}}, m.fail()
}

// Members implements api.Master.
func (m *Master) Members(context.Context) ([]client.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.members), m.fail()
}

// AddMember implements api.Master.
func (m *Master) AddMember(_ context.Context, peerURL string) (*client.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	if peerURL == "" {
		return nil, job.Errorf(job.CodeInvalid, "there is no address")
	}
	added := client.Member{ID: "a" + strconv.Itoa(len(m.members)), PeerURLs: []string{peerURL}}
	m.members = append(m.members, added)
	return &added, nil
}

// RemoveMember implements api.Master.
func (m *Master) RemoveMember(_ context.Context, name string) (*client.Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(m.members, func(x client.Member) bool { return x.ID == name || x.Name == name })
	if i < 0 {
		return nil, job.Errorf(job.CodeNotFound, "etcd has no member %s", name)
	}
	gone := m.members[i]
	m.members = slices.Delete(m.members, i, i+1)
	return &gone, nil
}
