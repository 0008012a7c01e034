package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"

	"github.com/rota-dev/rota/job"
)

// EmbedOptions configure an etcd member in this process.
type EmbedOptions struct {
	Dir  string // where it keeps its data; made if it is not there
	Name string // of the member; default "rota"
	// ClientURLs and PeerURLs are where it listens. Empty: a unix socket that only this user can open, no port.
	ClientURLs, PeerURLs []string
	// Cluster lists the members as etcd writes it: name=url,name=url. Empty: this one alone. It counts at the first start alone,
	// and then only where none of the others answers: a cluster that is there is joined, if it was told of this member (see
	// [Store.AddMember]).
	Cluster string
	// Waiting, unless nil, is told from time to time why the member does not serve yet.
	Waiting func(why string)
	// ClientTLS and PeerTLS are for https URLs; who connects must then show a certificate of that CA.
	ClientTLS, PeerTLS TLSFiles
	QuotaBytes         int64         // of the database; default 2 GiB
	CompactAfter       time.Duration // how long the past is kept; default 10 min
	Prefix             string        // before every key; default [DefaultPrefix]
	Relist             time.Duration // how often watches check themselves; default [DefaultRelist]
	Logger             *slog.Logger  // gets etcd's warnings and errors

	unsafeNoSync bool // tests only
}

// TLSFiles are the PEM files of one side of a connection.
type TLSFiles struct{ Cert, Key, CA string }

// Server is an etcd member in this process.
type Server struct {
	etcd    *embed.Etcd
	store   *Store
	urls    []string
	sockets string // a directory of its own for sockets, or empty
	lock    *fileutil.LockedFile
	once    sync.Once
	closed  error
	words   lastWords

	mu    sync.Mutex
	serve []*grpc.Server // what other processes are connected to
}

// maxSocketPath is the longest path of a unix socket, with room for what etcd appends.
const maxSocketPath = 100

// Embed starts an etcd member and waits until it serves, as long as ctx lasts: a member of a cluster needs a majority for that.
// It is [job.CodeConflict] where another process uses the directory, and where the cluster does not know this member, or
// knows it and its data is gone.
func Embed(ctx context.Context, o EmbedOptions) (srv *Server, err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make etcd's directory: %w", err)
	}
	srv = &Server{}
	srv.lock, err = fileutil.TryLockFile(filepath.Join(o.Dir, "lock"), os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, job.Errorf(job.CodeConflict, "the data directory %s is in use by another process", o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock etcd's directory: %w", err)
	}
	defer func(opened *Server) {
		if err != nil {
			opened.release()
		}
	}(srv)
	cfg, err := srv.config(&o)
	if err != nil {
		return nil, err
	}
	if err := found(ctx, &o, cfg); err != nil {
		return nil, err
	}
	if srv.etcd, err = startEtcd(cfg, &srv.words); err != nil {
		return nil, startFault(o.Dir, err)
	}
	es := srv.etcd.Server
	client := newLocalClient(es)
	if err := srv.serves(ctx, &o, client); err != nil {
		_ = client.Close()
		srv.etcd.Close()
		return nil, err
	}
	srv.store = newStore(newEtcd(client,
		adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(es)), adapter.LeaseServerToLeaseClient(v3rpc.NewQuotaLeaseServer(es)),
	), o.Prefix, o.Logger)
	if o.Relist > 0 {
		srv.store.relist = o.Relist
	}
	return srv, nil
}

// Store is a client of the member that needs no connection. It is closed with the server.
func (srv *Server) Store() *Store { return srv.store }

// ClientURLs are where other processes reach the member.
func (srv *Server) ClientURLs() []string { return srv.urls }

// Done is closed when the member has stopped, by Close or by itself, as for a broken disk.
func (srv *Server) Done() <-chan struct{} { return srv.etcd.Server.StopNotify() }

// Removed tells, once the member has stopped, whether it was taken out of the cluster.
func (srv *Server) Removed() bool {
	return srv.etcd.Server.Cluster().Member(srv.etcd.Server.MemberID()) == nil
}

// Close stops the member, after its store. What was written is on disk.
func (srv *Server) Close() error {
	srv.once.Do(func() {
		srv.closed = srv.store.Close()
		// Else etcd waits five seconds for each of its listeners, because others watch, and serves nobody meanwhile.
		srv.mu.Lock()
		for _, s := range srv.serve {
			s.Stop()
		}
		srv.mu.Unlock()
		srv.etcd.Close()
		srv.release()
	})
	return srv.closed
}

func (srv *Server) release() {
	if srv.sockets != "" {
		_ = os.RemoveAll(srv.sockets) // sockets only
	}
	_ = srv.lock.Close()
}

func (srv *Server) config(o *EmbedOptions) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Name = o.Name
	if cfg.Name == "" {
		cfg.Name = "rota"
	}
	cfg.Dir = filepath.Join(o.Dir, "data")
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapFor(o.Logger, &srv.words))
	cfg.LogLevel = "warn"
	cfg.EnableGRPCGateway = false
	cfg.ServiceRegister = func(s *grpc.Server) {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		srv.serve = append(srv.serve, s)
	}
	cfg.UnsafeNoFsync = o.unsafeNoSync
	cfg.QuotaBackendBytes = o.QuotaBytes
	if cfg.QuotaBackendBytes <= 0 {
		cfg.QuotaBackendBytes = 2 << 30
	}
	if o.CompactAfter <= 0 {
		o.CompactAfter = 10 * time.Minute
	}
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "periodic", o.CompactAfter.String()
	// A watch that hears nothing learns this often how far it is, so that it can go on from there.
	cfg.WatchProgressNotifyInterval = max(o.CompactAfter/10, 100*time.Millisecond)

	alone := o.Cluster == ""
	if alone && len(o.PeerURLs) == 0 {
		// Nobody is to wait for, so that few ticks will do; shorter ones would be most of what an idle process costs.
		cfg.TickMs, cfg.ElectionMs = 50, 250
	}
	client, err := srv.listen(o, o.ClientURLs, "client.sock")
	if err != nil {
		return nil, err
	}
	peer, err := srv.listen(o, o.PeerURLs, "peer.sock")
	if err != nil {
		return nil, err
	}
	if !alone && strings.HasPrefix(peer[0].Scheme, "unix") {
		return nil, job.Errorf(job.CodeInvalid, "the members of an etcd cluster reach each other over the network, not at %s", &peer[0]).
			WithHint("give the peer address as http://HOST:PORT or https://HOST:PORT")
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = client, client
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer
	srv.urls = types.URLs(client).StringSlice()
	cfg.ClientTLSInfo, cfg.PeerTLSInfo = o.ClientTLS.info(), o.PeerTLS.info()
	cfg.InitialCluster = o.Cluster
	if alone {
		cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	}
	cfg.ClusterState = embed.ClusterStateFlagNew
	return cfg, nil
}

func (f TLSFiles) info() transport.TLSInfo {
	return transport.TLSInfo{CertFile: f.Cert, KeyFile: f.Key, TrustedCAFile: f.CA, ClientCertAuth: f.CA != ""}
}

// listen parses the URLs, or makes that of a socket.
func (srv *Server) listen(o *EmbedOptions, urls []string, socket string) ([]url.URL, error) {
	if len(urls) > 0 {
		parsed, err := types.NewURLs(urls)
		if err != nil {
			return nil, job.Errorf(job.CodeInvalid, "etcd's addresses %s: %w", strings.Join(urls, ", "), err)
		}
		return parsed, nil
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find etcd's directory: %w", err)
	}
	at := url.URL{Scheme: "unix", Path: filepath.Join(dir, socket)}
	if len(at.Path) > maxSocketPath || at.String() != "unix://"+at.Path { // too long, or not the same as a URL
		if srv.sockets == "" {
			if srv.sockets, err = os.MkdirTemp("", "rota-"); err != nil {
				return nil, fmt.Errorf("make a directory for etcd's sockets: %w", err)
			}
		}
		at.Path = filepath.Join(srv.sockets, socket)
	}
	return []url.URL{at}, nil
}
