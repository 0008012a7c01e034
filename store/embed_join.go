package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/rota-dev/rota/job"
)

// How a member that has no data looks for a cluster that is there already, and how often one that waits says why.
const (
	lookFor  = 3 * time.Second
	tellEach = 2 * time.Second
)

// peer is a member as its cluster tells of it on the address for peers.
type peer struct {
	ID         uint64   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"` // none before its first start
}

// found decides how a member without data begins. Where the others answer, they have a cluster already: it is joined, by a member
// that was added and has never started. Where nobody answers, this is the cluster's first start.
//
// A member that the cluster knows, and whose data is gone, must not begin anew under its old name: it would vote as though it
// had never promised anything.
func found(ctx context.Context, o *EmbedOptions, cfg *embed.Config) error {
	if _, err := os.Stat(filepath.Join(cfg.Dir, "member", "wal")); err == nil || o.Cluster == "" {
		return nil // the data says it
	}
	all, err := types.NewURLsMap(o.Cluster)
	if err != nil {
		return job.Errorf(job.CodeInvalid, "etcd's members %s: %w", o.Cluster, err)
	}
	mine := types.URLs(cfg.AdvertisePeerUrls).StringSlice()
	var others []string
	for name, urls := range all {
		if name != cfg.Name {
			others = append(others, urls.StringSlice()...)
		}
	}
	if len(others) == 0 {
		return nil
	}
	slices.Sort(others)
	known, from, err := lookAround(ctx, cfg.PeerTLSInfo, others)
	if err != nil || known == nil {
		return err
	}
	i := slices.IndexFunc(known, func(p peer) bool {
		return slices.ContainsFunc(p.PeerURLs, func(u string) bool { return slices.Contains(mine, u) })
	})
	switch {
	case i < 0:
		return job.Errorf(job.CodeConflict, "the etcd cluster at %s does not know of a member at %s", from, strings.Join(mine, ", ")).
			WithHint("tell it first, where a master of it runs: rota member add %s=%s", cfg.Name, mine[0])
	case len(known[i].ClientURLs) > 0:
		return job.Errorf(job.CodeConflict, "the etcd cluster at %s knows member %s, and its data is not in %s", from, known[i].Name, cfg.Dir).
			WithHint("does --data name the right folder? where the disk was lost, replace the member: rota member remove %[1]s, rota member add %[1]s=%[2]s, then start this again",
				known[i].Name, mine[0])
	case known[i].Name != "":
		return nil // all of them are starting for the first time
	}
	known[i].Name = cfg.Name
	var list []string
	for _, p := range known {
		if p.Name == "" {
			p.Name = fmt.Sprintf("member-%x", p.ID)
		}
		for _, u := range p.PeerURLs {
			list = append(list, p.Name+"="+u)
		}
	}
	cfg.InitialCluster, cfg.ClusterState = strings.Join(list, ","), embed.ClusterStateFlagExisting
	return nil
}

// lookAround asks the others for their cluster. Nil: nobody answers.
func lookAround(ctx context.Context, tls transport.TLSInfo, others []string) (known []peer, from string, err error) {
	tr, err := transport.NewTransport(tls, time.Second)
	if err != nil {
		return nil, "", job.Errorf(job.CodeInvalid, "the certificates for etcd's members: %w", err)
	}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: time.Second}
	b := backoff{min: 200 * time.Millisecond, max: 500 * time.Millisecond}
	for until := time.Now().Add(lookFor); time.Now().Before(until); {
		for _, u := range others {
			if known := ask(ctx, client, u); len(known) > 0 {
				return known, u, nil
			}
		}
		if !b.wait(ctx) {
			return nil, "", ctx.Err()
		}
	}
	return nil, "", nil
}

func ask(ctx context.Context, c *http.Client, at string) (known []peer) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(at, "/")+"/members", nil)
	if err != nil {
		return nil
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&known) != nil {
		return nil
	}
	return known
}

// serves waits until the member has a leader to follow and a vote of its own, and tells the cluster where it is now.
func (srv *Server) serves(ctx context.Context, o *EmbedOptions, c *clientv3.Client) error {
	if all := srv.etcd.Server.Cluster().Members(); len(all) > 1 && len(o.PeerURLs) == 0 {
		return job.Errorf(job.CodeConflict, "etcd in %s is one of %d members, and was given no address for them", o.Dir, len(all)).
			WithHint("start it with --embed NAME=https://HOST:2380 as before")
	}
	tick := time.NewTicker(tellEach)
	defer tick.Stop()
	ready := srv.etcd.Server.ReadyNotify()
	var stopped error
	for wait := true; wait; {
		select {
		case <-ready:
			wait = false
		case stopped = <-srv.etcd.Err():
			wait = false
		case <-srv.etcd.Server.StopNotify():
			stopped, wait = errors.New("it stopped at once"), false
			if srv.Removed() {
				return removedFault(o.Dir)
			}
		case <-ctx.Done():
			stopped, wait = ctx.Err(), false
		case <-tick.C:
			if o.Waiting != nil {
				o.Waiting(srv.lacks(ctx))
			}
		}
	}
	if stopped != nil {
		return job.Errorf(job.CodeUnavailable, "etcd in %s does not get ready: %w", o.Dir, stopped)
	}
	id := uint64(srv.etcd.Server.MemberID())
	b := backoff{min: 100 * time.Millisecond, max: time.Second}
	for srv.etcd.Server.IsLearner() {
		_, err := c.MemberPromote(ctx, id)
		if err == nil {
			break
		}
		if o.Waiting != nil {
			o.Waiting("it has no vote until it knows what the other members know: " + said{err}.Error())
		}
		select {
		case <-srv.etcd.Server.StopNotify():
			return job.Errorf(job.CodeUnavailable, "etcd in %s stopped before it had a vote: %w", o.Dir, err)
		default:
		}
		if !b.wait(ctx) {
			return job.Errorf(job.CodeUnavailable, "etcd in %s does not get a vote: %w", o.Dir, err)
		}
	}
	return srv.moved(ctx, o, c, id)
}

// moved tells the cluster the member's address for peers, where that is another one than before.
func (srv *Server) moved(ctx context.Context, o *EmbedOptions, c *clientv3.Client, id uint64) error {
	m := srv.etcd.Server.Cluster().Member(types.ID(id))
	now := types.URLs(srv.etcd.Config().AdvertisePeerUrls).StringSlice()
	if m == nil || len(o.PeerURLs) == 0 && len(srv.etcd.Server.Cluster().Members()) > 1 || slices.Equal(m.PeerURLs, now) {
		return nil
	}
	b := backoff{min: 100 * time.Millisecond, max: time.Second}
	for {
		_, err := c.MemberUpdate(ctx, id, now)
		if err == nil {
			return nil
		}
		if o.Waiting != nil {
			o.Waiting("the cluster can't be told that its address is now " + strings.Join(now, ", ") + ": " + said{err}.Error())
		}
		if !b.wait(ctx) {
			return job.Errorf(job.CodeUnavailable, "tell the etcd cluster of the address %s: %w", strings.Join(now, ", "), err)
		}
	}
}

// lacks says why the member does not serve yet: whom it does not reach.
func (srv *Server) lacks(ctx context.Context) string {
	all := srv.etcd.Server.Cluster().Members()
	var away []string
	for _, m := range all {
		if m.ID != srv.etcd.Server.MemberID() && !reached(ctx, m.PeerURLs) {
			away = append(away, fmt.Sprintf("%s (%s)", m.Name, strings.Join(m.PeerURLs, ", ")))
		}
	}
	slices.Sort(away)
	if len(away) == 0 {
		return fmt.Sprintf("etcd's %d members are choosing their leader", len(all))
	}
	return fmt.Sprintf("etcd needs %d of its %d members, and these do not answer: %s", len(all)/2+1, len(all), strings.Join(away, ", "))
}

// reached tells whether somebody listens at one of the addresses.
func reached(ctx context.Context, urls []string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		network, at := "tcp", u.Host
		if u.Scheme == "unix" {
			network, at = "unix", u.Path
		}
		if c, err := d.DialContext(ctx, network, at); err == nil {
			_ = c.Close()
			return true
		}
	}
	return false
}

// startEtcd is embed.StartEtcd, which panics where it can't write to its disk, and says why in its log alone.
func startEtcd(cfg *embed.Config, words *lastWords) (etcd *embed.Etcd, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			etcd, err = nil, errors.New(cmp.Or(words.String(), fmt.Sprint(fault)))
		}
	}()
	return embed.StartEtcd(cfg)
}

// startFault says of an etcd that does not start what can be done.
func startFault(dir string, err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "removed from the cluster"):
		return removedFault(dir)
	case strings.Contains(text, "address already in use"):
		return job.Errorf(job.CodeConflict, "start etcd in %s: %w", dir, err).WithHint("another program listens there, perhaps another rota; stop it, or choose another address")
	case strings.Contains(text, syscall.ENOSPC.Error()):
		return job.Errorf(job.CodeUnavailable, "start etcd in %s: %w", dir, err).WithHint("its disk is full: make room, for an empty etcd 64 MiB for each file of its log, and start this again")
	}
	return fmt.Errorf("start etcd in %s: %w", dir, err)
}

func removedFault(dir string) error {
	return job.Errorf(job.CodeConflict, "this member was removed from its etcd cluster, and its data in %s is of no use any more", dir).
		WithHint("to have it back, remove %s, run rota member add where a master runs, and start this again; to run without an etcd of its own, name the others with --etcd", dir)
}
