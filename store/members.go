package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/rota-dev/rota/job"
)

// Member is one of the servers of etcd.
type Member struct {
	ID         string   `json:"id"`             // hexadecimal
	Name       string   `json:"name,omitempty"` // empty before its first start
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls,omitempty"`
	Voter      bool     `json:"voter"`  // false: it was added, and has not caught up yet
	Leader     bool     `json:"leader"` // of etcd, not of the masters
	Answers    bool     `json:"answers"`
}

// Majority is how many voters must answer for etcd to go on.
func Majority(voters int) int { return voters/2 + 1 }

// cluster is etcd's own administration.
func (s *Store) cluster() (*clientv3.Client, error) {
	e, ok := s.kv.(*etcd)
	if !ok {
		return nil, job.Errorf(job.CodeInvalid, "this store has no members")
	}
	return e.c, nil
}

// Members lists the servers of etcd by name. Answers tells whether somebody listens at the address for peers, as seen from here.
func (s *Store) Members(ctx context.Context) ([]Member, error) {
	c, err := s.cluster()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	var resp *clientv3.MemberListResponse
	err = patiently(ctx, func(ctx context.Context) (err error) {
		resp, err = c.MemberList(ctx)
		return err
	})
	if err != nil {
		return nil, memberFault(err, "list etcd's members")
	}
	leader := uint64(0)
	if ends := c.Endpoints(); len(ends) > 0 {
		if st, err := c.Status(ctx, ends[0]); err == nil {
			leader = st.Leader
		}
	} else if st, err := c.Status(ctx, ""); err == nil {
		leader = st.Leader
	}
	list := make([]Member, len(resp.Members))
	var wg sync.WaitGroup
	for i, m := range resp.Members {
		list[i] = Member{
			ID: strconv.FormatUint(m.ID, 16), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Voter: !m.IsLearner, Leader: m.ID == leader,
		}
		wg.Go(func() { list[i].Answers = reached(ctx, m.PeerURLs) })
	}
	wg.Wait()
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID) })
	return list, nil
}

// AddMember tells etcd of a member that is about to start at an address for peers. It has no vote until it has started and caught
// up, so that one that never starts stops nobody. Telling it again says the same.
func (s *Store) AddMember(ctx context.Context, peerURL string) (*Member, error) {
	if !strings.HasPrefix(peerURL, "https://") && !strings.HasPrefix(peerURL, "http://") || checkEndpoint(peerURL) != nil {
		return nil, job.Errorf(job.CodeInvalid, "%q is not an address at which members of etcd reach each other", peerURL).WithHint("write it as https://HOST:2380")
	}
	all, err := s.Members(ctx)
	if err != nil {
		return nil, err
	}
	for i, m := range all {
		switch {
		case strings.HasPrefix(m.PeerURLs[0], "unix"):
			return nil, job.Errorf(job.CodeConflict, "etcd's member %s has no address at which another one could reach it", m.Name).
				WithHint("start it again with --embed NAME=https://HOST:2380")
		case !slices.Contains(m.PeerURLs, peerURL):
		case m.Name == "":
			return &all[i], nil
		default:
			return nil, job.Errorf(job.CodeConflict, "%s is a member of etcd at %s already", m.Name, peerURL).WithHint("where its disk was lost, remove it first: rota member remove %s", m.Name)
		}
	}
	c, err := s.cluster()
	if err != nil {
		return nil, err
	}
	var resp *clientv3.MemberAddResponse
	err = patiently(ctx, func(ctx context.Context) (err error) {
		resp, err = c.MemberAddAsLearner(ctx, []string{peerURL})
		return err
	})
	if errors.Is(rpctypes.Error(err), rpctypes.ErrPeerURLExist) { // the answer to an earlier attempt was lost
		return &Member{PeerURLs: []string{peerURL}}, nil
	}
	if err != nil {
		return nil, memberFault(err, "add a member to etcd")
	}
	return &Member{ID: strconv.FormatUint(resp.Member.ID, 16), PeerURLs: resp.Member.PeerURLs}, nil
}

// RemoveMember takes a member out of etcd, by its name, address or id. It refuses where the others would not be able to go on.
func (s *Store) RemoveMember(ctx context.Context, name string) (*Member, error) {
	all, err := s.Members(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(m Member) bool {
		return name != "" && (m.Name == name || m.ID == name || slices.Contains(m.PeerURLs, name))
	})
	if i < 0 {
		return nil, job.Errorf(job.CodeNotFound, "etcd has no member %s", name).WithHint("see: rota member list")
	}
	gone, voters, answer := all[i], 0, 0
	for k, m := range all {
		if k != i && m.Voter {
			voters++
			if m.Answers {
				answer++
			}
		}
	}
	if gone.Voter && voters == 0 {
		return nil, job.Errorf(job.CodeConflict, "%s is etcd's last member", name).WithHint("to move to another machine, add that one first: rota member add NAME=https://HOST:2380")
	}
	if gone.Voter && answer < Majority(voters) {
		return nil, job.Errorf(job.CodeConflict, "without %s etcd would have %d members of which %d answer, and needs %d", name, voters, answer, Majority(voters)).
			WithHint("bring another one back first: rota member list")
	}
	c, err := s.cluster()
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseUint(gone.ID, 16, 64)
	if err != nil {
		return nil, fmt.Errorf("remove member %s: %w", name, err)
	}
	err = patiently(ctx, func(ctx context.Context) error {
		_, err := c.MemberRemove(ctx, id)
		return err
	})
	if err != nil && !errors.Is(rpctypes.Error(err), rpctypes.ErrMemberNotFound) {
		return nil, memberFault(err, "remove member "+name+" from etcd")
	}
	return &gone, nil
}

// memberPatience is how long a change of members waits: etcd counts on a member only when it has been there for five seconds.
const memberPatience = 12 * time.Second

func patiently(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	b := backoff{min: 200 * time.Millisecond, max: time.Second}
	for {
		once, stop := context.WithTimeout(ctx, attemptTimeout)
		err := f(once)
		stop()
		if !passing(rpctypes.Error(err)) || !b.wait(ctx) {
			return err
		}
	}
}

// passing tells whether a refusal is likely to pass by itself.
func passing(err error) bool {
	for _, known := range []error{
		rpctypes.ErrUnhealthy, rpctypes.ErrMemberNotEnoughStarted, rpctypes.ErrLeaderChanged, rpctypes.ErrNoLeader, rpctypes.ErrTimeoutDueToLeaderFail,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// memberFault says of what etcd refuses about its members why, and what can be done.
func memberFault(err error, what string) error {
	switch known := rpctypes.Error(err); {
	case errors.Is(known, rpctypes.ErrTooManyLearners):
		return job.Errorf(job.CodeConflict, "%s: another one was added, and has not started and caught up yet", what).WithHint("start that one, or take it back: rota member list, rota member remove")
	case errors.Is(known, rpctypes.ErrUnhealthy), errors.Is(known, rpctypes.ErrMemberNotEnoughStarted):
		return job.Errorf(job.CodeConflict, "%s: not enough of the present members are well", what).WithHint("bring them back first, or remove the one that is lost: rota member list")
	case errors.Is(known, rpctypes.ErrNoLeader), errors.Is(known, rpctypes.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return job.Errorf(job.CodeUnavailable, "%s: %w", what, said{err}).WithHint("etcd needs a majority of its members for that: 2 of 3, 3 of 5")
	}
	return coded(err, "%s", what)
}
