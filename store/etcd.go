package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"github.com/rota-dev/rota/job"
)

// Options say where an etcd is.
type Options struct {
	Endpoints          []string // such as https://etcd1:2379 or unix:///run/etcd.sock
	Prefix             string   // before every key; default [DefaultPrefix]
	TLS                *tls.Config
	Username, Password string
	DialTimeout        time.Duration // until Open gives up; default 5 s
	Relist             time.Duration // how often watches check themselves; default [DefaultRelist]
	Logger             *slog.Logger
}

// Open connects to an etcd. It is [job.CodeUnavailable] where none of the endpoints answers in time.
func Open(ctx context.Context, o Options) (*Store, error) {
	if len(o.Endpoints) == 0 {
		return nil, job.Errorf(job.CodeInvalid, "no etcd endpoint is given")
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = 5 * time.Second
	}
	unreachable := func(err error) error {
		return job.Errorf(job.CodeUnavailable, "etcd does not answer at %s: %w", strings.Join(o.Endpoints, ", "), said{err}).
			WithHint("check the addresses, the certificates and that etcd is running")
	}
	for _, e := range o.Endpoints {
		if err := checkEndpoint(e); err != nil {
			return nil, err
		}
	}
	var opened atomic.Bool // until then the error says what the client's warnings would
	c, err := clientv3.New(clientv3.Config{
		Endpoints: o.Endpoints, TLS: o.TLS, Username: o.Username, Password: o.Password, DialTimeout: o.DialTimeout,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second, PermitWithoutStream: true,
		// The client's own limit does not hold for who speaks its protocol, and gRPC's is 4 MiB.
		DialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32))},
		Logger:      zapTo(o.Logger).WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return &heldCore{Core: c, open: &opened} })),
	})
	if err != nil {
		return nil, unreachable(err)
	}
	s := newStore(newEtcd(c, clientv3.RetryKVClient(c), clientv3.RetryLeaseClient(c)), o.Prefix, o.Logger)
	if o.Relist > 0 {
		s.relist = o.Relist
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	if err := s.Ping(ctx); err != nil {
		_ = s.Close()
		if job.CodeOf(err) == job.CodeForbidden {
			return nil, err
		}
		return nil, unreachable(errors.Unwrap(err))
	}
	opened.Store(true)
	return s, nil
}

// etcd is kv on a real one. Requests go straight to its protocol: the client's own keepalive spins while it is not
// connected, and its transactions copy every value.
type etcd struct {
	c     *clientv3.Client
	kv    etcdserverpb.KVClient
	lease etcdserverpb.LeaseClient
	clock clock
}

func newEtcd(c *clientv3.Client, kv etcdserverpb.KVClient, lease etcdserverpb.LeaseClient) *etcd {
	return &etcd{c: c, kv: kv, lease: lease, clock: systemClock()}
}

func (e *etcd) Clock() clock { return e.clock }

func (e *etcd) Close() error {
	if err := e.c.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the connection to etcd: %w", err)
	}
	return nil
}

// answered gives etcd's definite answers their names.
func answered(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range [...]struct{ grpc, ours error }{
		{rpctypes.ErrCompacted, errCompacted}, {rpctypes.ErrFutureRev, errFutureRev}, {rpctypes.ErrLeaseNotFound, errLeaseNotFound},
		{rpctypes.ErrKeyNotFound, errKeyNotFound}, {rpctypes.ErrDuplicateKey, errDuplicateKey}, {rpctypes.ErrTooManyOps, errTooManyOps},
		{rpctypes.ErrRequestTooLarge, errTooLarge}, {rpctypes.ErrNoSpace, errNoSpace}, {rpctypes.ErrPermissionDenied, errDenied},
	} {
		if errors.Is(rpctypes.Error(err), known.grpc) {
			return known.ours
		}
	}
	return err
}

func (e *etcd) Range(ctx context.Context, r request) (*rangeResult, error) {
	resp, err := e.kv.Range(ctx, rangeRequest(&r))
	if err != nil {
		return nil, answered(err)
	}
	return &rangeResult{kvs: keyValues(resp.Kvs), count: resp.Count, more: resp.More, rev: resp.Header.Revision}, nil
}

func rangeRequest(r *request) *etcdserverpb.RangeRequest {
	return &etcdserverpb.RangeRequest{
		Key: []byte(r.key), RangeEnd: rangeEnd(r.end), Limit: r.limit, Revision: r.rev, KeysOnly: r.keysOnly, CountOnly: r.countOnly,
	}
}

// rangeEnd is the end of a range, nil for a single key: in this process nothing is encoded on the way, and an end
// that is empty but not nil means everything from the key on.
func rangeEnd(end string) []byte {
	if end == "" {
		return nil
	}
	return []byte(end)
}

func keyValues(kvs []*mvccpb.KeyValue) []keyValue {
	if len(kvs) == 0 {
		return nil
	}
	all := make([]keyValue, len(kvs))
	for i, kv := range kvs {
		all[i] = toKeyValue(kv)
	}
	return all
}

func toKeyValue(kv *mvccpb.KeyValue) keyValue {
	return keyValue{
		key: string(kv.Key), value: kv.Value, create: kv.CreateRevision, mod: kv.ModRevision, version: kv.Version, lease: kv.Lease,
	}
}

func (e *etcd) Txn(ctx context.Context, t *txn) (*txnResult, error) {
	resp, err := e.kv.Txn(ctx, txnRequest(t))
	if err != nil {
		return nil, answered(err)
	}
	r := txnResponse(resp)
	r.rev = resp.Header.Revision
	return r, nil
}

func txnRequest(t *txn) *etcdserverpb.TxnRequest {
	r := &etcdserverpb.TxnRequest{
		Compare: make([]*etcdserverpb.Compare, len(t.when)), Success: requestOps(t.then), Failure: requestOps(t.otherwise),
	}
	for i := range t.when {
		r.Compare[i] = toCompare(&t.when[i])
	}
	return r
}

func toCompare(c *compare) *etcdserverpb.Compare {
	to := &etcdserverpb.Compare{Key: []byte(c.key), RangeEnd: rangeEnd(c.end)}
	switch c.op {
	case '=':
		to.Result = etcdserverpb.Compare_EQUAL
	case '!':
		to.Result = etcdserverpb.Compare_NOT_EQUAL
	case '<':
		to.Result = etcdserverpb.Compare_LESS
	case '>':
		to.Result = etcdserverpb.Compare_GREATER
	}
	switch c.target {
	case byCreate:
		to.Target, to.TargetUnion = etcdserverpb.Compare_CREATE, &etcdserverpb.Compare_CreateRevision{CreateRevision: c.number}
	case byMod:
		to.Target, to.TargetUnion = etcdserverpb.Compare_MOD, &etcdserverpb.Compare_ModRevision{ModRevision: c.number}
	case byVersion:
		to.Target, to.TargetUnion = etcdserverpb.Compare_VERSION, &etcdserverpb.Compare_Version{Version: c.number}
	case byValue:
		to.Target, to.TargetUnion = etcdserverpb.Compare_VALUE, &etcdserverpb.Compare_Value{Value: c.value}
	case byLease:
		to.Target, to.TargetUnion = etcdserverpb.Compare_LEASE, &etcdserverpb.Compare_Lease{Lease: c.number}
	}
	return to
}

func requestOps(requests []request) []*etcdserverpb.RequestOp {
	ops := make([]*etcdserverpb.RequestOp, len(requests))
	for i := range requests {
		switch r := &requests[i]; r.action {
		case get:
			ops[i] = &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: rangeRequest(r)}}
		case put:
			ops[i] = &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{
				Key: []byte(r.key), Value: r.value, Lease: r.lease, IgnoreValue: r.keepValue,
			}}}
		case del:
			ops[i] = &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{
				RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte(r.key), RangeEnd: rangeEnd(r.end)},
			}}
		case nest:
			ops[i] = &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestTxn{RequestTxn: txnRequest(r.txn)}}
		}
	}
	return ops
}

func txnResponse(resp *etcdserverpb.TxnResponse) *txnResult {
	r := &txnResult{ok: resp.Succeeded, results: make([]result, len(resp.Responses))}
	for i, op := range resp.Responses {
		switch {
		case op.GetResponseRange() != nil:
			r.results[i] = result{kvs: keyValues(op.GetResponseRange().Kvs), count: op.GetResponseRange().Count}
		case op.GetResponseDeleteRange() != nil:
			r.results[i] = result{deleted: op.GetResponseDeleteRange().Deleted}
		case op.GetResponseTxn() != nil:
			r.results[i] = result{txn: txnResponse(op.GetResponseTxn())}
		}
	}
	return r
}

func (e *etcd) Watch(ctx context.Context, key, end string, rev int64) <-chan watchResult {
	opts := []clientv3.OpOption{clientv3.WithRev(rev), clientv3.WithProgressNotify()}
	if end != "" {
		opts = append(opts, clientv3.WithRange(end))
	}
	in := e.c.Watch(clientv3.WithRequireLeader(ctx), key, opts...)
	out := make(chan watchResult)
	go func() {
		defer close(out)
		for resp := range in {
			r := watchResult{rev: resp.Header.Revision, err: answered(resp.Err())}
			if resp.CompactRevision > 0 {
				r.err = errCompacted
			}
			if n := len(resp.Events); n > 0 {
				r.rev = resp.Events[n-1].Kv.ModRevision
				r.changes = make([]change, n)
				for i, ev := range resp.Events {
					r.changes[i] = change{kv: toKeyValue(ev.Kv), deleted: ev.Type == clientv3.EventTypeDelete}
				}
			}
			select {
			case out <- r:
			case <-ctx.Done():
				return
			}
			if r.err != nil {
				return
			}
		}
	}()
	return out
}

func (e *etcd) Progress(ctx context.Context) error {
	return answered(e.c.RequestProgress(clientv3.WithRequireLeader(ctx)))
}

func (e *etcd) Grant(ctx context.Context, seconds int64) (id, granted int64, err error) {
	resp, err := e.lease.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: seconds})
	if err != nil {
		return 0, 0, answered(err)
	}
	if resp.Error != "" {
		return 0, 0, errors.New(resp.Error)
	}
	return resp.ID, resp.TTL, nil
}

func (e *etcd) KeepAlive(ctx context.Context, id int64) (seconds int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := e.lease.LeaseKeepAlive(ctx)
	if err != nil {
		return 0, answered(err)
	}
	if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return 0, answered(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		return 0, answered(err)
	}
	if resp.TTL <= 0 {
		return 0, errLeaseNotFound
	}
	return resp.TTL, nil
}

func (e *etcd) Revoke(ctx context.Context, id int64) error {
	_, err := e.lease.LeaseRevoke(ctx, &etcdserverpb.LeaseRevokeRequest{ID: id})
	return answered(err)
}

func (e *etcd) LeaseKeys(ctx context.Context, id int64) ([]string, error) {
	resp, err := e.lease.LeaseTimeToLive(ctx, &etcdserverpb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	if err != nil {
		return nil, answered(err)
	}
	if resp.TTL <= 0 {
		return nil, errLeaseNotFound
	}
	keys := make([]string, len(resp.Keys))
	for i, k := range resp.Keys {
		keys[i] = string(k)
	}
	slices.Sort(keys)
	return keys, nil
}

func (e *etcd) Alarm(ctx context.Context) (string, error) {
	resp, err := e.c.AlarmList(ctx)
	if err != nil {
		return "", answered(err)
	}
	var names []string
	for _, a := range resp.Alarms {
		if name := a.Alarm.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ","), nil
}

func (e *etcd) Compact(ctx context.Context, rev int64) error {
	_, err := e.kv.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: rev})
	return answered(err)
}
