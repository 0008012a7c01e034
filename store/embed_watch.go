package store

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"
)

// newLocalClient is a client of a member in this process, without a connection.
func newLocalClient(es *etcdserver.EtcdServer) *clientv3.Client {
	c := v3client.New(es)
	c.Watcher = clientv3.NewWatchFromWatchClient(bufferedWatches{adapter.WatchServerToWatchClient(v3rpc.NewWatchServer(es))}, c)
	return c
}

// bufferedWatches takes what a client sends at once, as a connection does. The adapter's own streams do so only when the member has
// time for it: with two dozen watches that end together the client waits until the member has read that the next one ends, the member
// until the client has read that the last one did, and both for ever.
type bufferedWatches struct{ etcdserverpb.WatchClient }

func (b bufferedWatches) Watch(ctx context.Context, opts ...grpc.CallOption) (etcdserverpb.Watch_WatchClient, error) {
	s, err := b.WatchClient.Watch(ctx, opts...)
	if err != nil {
		return nil, err
	}
	out := &bufferedWatch{Watch_WatchClient: s, wake: make(chan struct{}, 1)}
	go out.pass()
	return out, nil
}

// bufferedWatch is one stream. What waits in it is a few words for each of its watches.
type bufferedWatch struct {
	etcdserverpb.Watch_WatchClient
	wake chan struct{} // capacity 1: there is something to pass on

	mu      sync.Mutex
	waiting []*etcdserverpb.WatchRequest
}

// Send never waits. That the stream is over is told by what is received from it.
func (b *bufferedWatch) Send(r *etcdserverpb.WatchRequest) error {
	b.mu.Lock()
	b.waiting = append(b.waiting, r)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return b.Context().Err()
}

// pass hands on what was sent, in its order, until the stream ends.
func (b *bufferedWatch) pass() {
	for {
		select {
		case <-b.wake:
		case <-b.Context().Done():
			return
		}
		b.mu.Lock()
		all := b.waiting
		b.waiting = nil
		b.mu.Unlock()
		for _, r := range all {
			if b.Watch_WatchClient.Send(r) != nil {
				return
			}
		}
	}
}
