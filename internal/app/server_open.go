package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/rota-dev/rota/internal/history"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// loadTLS reads the certificate before anything is touched.
func (s *Server) loadTLS(context.Context) error {
	if s.cfg.TLSCert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
	if err != nil {
		return job.Errorf(job.CodeInvalid, "--tls-cert %s, --tls-key %s: %w", s.cfg.TLSCert, s.cfg.TLSKey, err).
			WithHint("both are files in PEM, the certificate with its chain and the key that belongs to it")
	}
	s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	return nil
}

// listen comes first: a port that is taken is the likeliest fault, and nothing has been touched yet.
func (s *Server) listen(ctx context.Context) error {
	if s.cfg.Listen == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return listenError(s.cfg.Listen, err)
	}
	s.listener = l
	s.opened("listener", func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// listenError says what to do about an address.
func listenError(addr string, err error) error {
	hint := "choose another address with --listen"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another program listens there, perhaps another rota; stop it, or choose another address with --listen"
	case errors.Is(err, syscall.EACCES):
		hint = "ports below 1024 are for the administrator; choose another with --listen"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this machine does not have that address; choose another with --listen"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return job.Errorf(job.CodeConflict, "can't listen on %s: %w", addr, err).WithHint("%s", hint)
}

func (s *Server) openData(context.Context) error {
	path := s.cfg.Data
	if s.cfg.Ephemeral {
		dir, err := os.MkdirTemp("", "rota-")
		if err != nil {
			return err
		}
		path = dir
		s.opened("ephemeral data", func() error { return os.RemoveAll(dir) })
	}
	d, err := openDataDir(path)
	if err != nil {
		return err
	}
	s.data = d
	s.opened("data folder", d.Close)
	for _, of := range []string{"master", filepath.Join("node", "spool")} {
		if _, err := os.Stat(d.join(of)); err == nil {
			s.lived = true
		}
	}
	return nil
}

// tryAgain is how long after a failed attempt a start looks again for what is away.
const tryAgain = time.Second

// await does a step of the start. Where something that it needs does not answer at the first start, its address is probably wrong, and that is said at once;
// a program that has been there before waits for it: it may have been started while the other is away.
func (s *Server) await(ctx context.Context, step func(context.Context) error) error {
	for {
		err := step(ctx)
		if !s.lived || job.CodeOf(err) != job.CodeUnavailable || ctx.Err() != nil {
			return err
		}
		if s.front.waits(err.Error()) {
			s.log.Warn("the start waits", "why", err)
		}
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *Server) openStore(ctx context.Context) error {
	if len(s.cfg.Etcd) > 0 {
		conf, err := s.cfg.etcdTLS()
		if err != nil {
			return err
		}
		var st *store.Store
		err = s.await(ctx, func(ctx context.Context) (err error) {
			st, err = store.Open(ctx, store.Options{Endpoints: s.cfg.Etcd, Prefix: s.cfg.Prefix, TLS: conf, Logger: s.log})
			return err
		})
		if job.CodeOf(err) == job.CodeInvalid {
			return &usageError{err: fmt.Errorf("--etcd: %w", err)}
		}
		if err != nil {
			return err
		}
		s.store = st
		s.opened("etcd client", st.Close)
		return nil
	}
	opts := store.EmbedOptions{
		Dir: s.data.join("etcd"), Prefix: s.cfg.Prefix, ClientTLS: s.cfg.EtcdTLS, PeerTLS: s.cfg.EtcdTLS, Logger: s.log,
		Cluster: strings.Join(s.cfg.Embed, ","), Waiting: func(why string) {
			if s.front.waits("etcd is not ready: " + why) {
				s.log.Warn("etcd does not serve yet", "why", why)
			}
		},
	}
	if len(s.cfg.Embed) > 0 {
		opts.Name, opts.PeerURLs = s.cfg.Name, []string{s.cfg.peerURL()}
	}
	if s.cfg.EtcdURL != "" {
		opts.ClientURLs = []string{s.cfg.EtcdURL}
	}
	e, err := store.Embed(ctx, opts)
	if err != nil {
		return err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		<-e.Done()
		if e.Removed() {
			s.fail(job.Errorf(job.CodeConflict, "this member was removed from its etcd cluster").
				WithHint("remove %s before it is added again, or name the others with --etcd", s.data.join("etcd")))
			return
		}
		s.fail(job.Errorf(job.CodeInternal, "etcd has stopped by itself").WithHint("see what it said before; is the disk full, or broken?"))
	}()
	s.opened("etcd", func() error {
		err := e.Close()
		<-watched
		return err
	})
	s.store = e.Store()
	s.opened("etcd client", s.store.Close)
	return nil
}

// replaceMaster ends what an earlier life of this master left behind. Its name is kept in the data folder, which
// belongs to one process at a time: whoever finds it there knows that its process is dead, and need not wait for its
// leases to lapse.
func (s *Server) replaceMaster(ctx context.Context) error {
	b, err := os.ReadFile(s.data.join("master"))
	if last := strings.TrimSpace(string(b)); err == nil && job.CheckName("master", last) == nil {
		if err := s.await(ctx, func(ctx context.Context) error { return s.store.ReplaceMaster(ctx, last) }); err != nil {
			return err
		}
	}
	if err := s.refuseTwin(ctx); err != nil {
		return err
	}
	// Two masters on one machine, and two lives of one, are different ones.
	s.masterID = s.cfg.masterName() + "-" + uuid.NewString()[:8]
	if err := s.data.writeFile("master", []byte(s.masterID+"\n")); err != nil {
		return fmt.Errorf("keep the master's name: %w", err)
	}
	return nil
}

// refuseTwin refuses a name that another master has who is alive. One that was killed, and whose data folder is gone, is alive until its
// lease has lapsed: so long it is waited for.
func (s *Server) refuseTwin(ctx context.Context) error {
	for until := time.Now().Add(s.cfg.Lease + 3*time.Second); ; {
		var all []*store.Master
		err := s.await(ctx, func(ctx context.Context) (err error) {
			all, _, err = s.store.Masters().List(ctx)
			return err
		})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(m *store.Master) bool { return m.Name == s.cfg.Name })
		if i < 0 {
			return nil
		}
		twin := job.Errorf(job.CodeConflict, "another master %s is alive, at %s", s.cfg.Name, all[i].URL).WithHint("give this one a name of its own with --name")
		if time.Now().After(until) {
			return twin
		}
		if s.front.waits(twin.Error()) {
			s.log.Info("waits for the end of an earlier master of this name", "name", s.cfg.Name, "url", all[i].URL, "lease", s.cfg.Lease)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) openHistory(ctx context.Context) error {
	dsn := s.cfg.DB
	if dsn == "" {
		dsn = "sqlite:" + s.data.join("history.db")
	}
	if err := s.refuseSplitHistory(ctx, dsn); err != nil {
		return err
	}
	var db *history.DB
	err := s.await(ctx, func(ctx context.Context) (err error) {
		db, err = history.Open(ctx, dsn, history.Options{Logger: s.log, Grace: s.cfg.KeepLeast})
		return err
	})
	if err != nil {
		return err
	}
	s.history = db
	s.opened("history", db.Close)
	return s.shareHistory(ctx, dsn)
}

// shareHistory refuses a history that is not the cluster's: what is looked for in one of two is found in neither.
func (s *Server) shareHistory(ctx context.Context, dsn string) error {
	mine := store.HistoryID{ID: s.history.ID(), Place: placeOf(dsn), By: s.masterID, Since: time.Now().UTC()}
	if s.cfg.AdoptDB {
		others, _, err := s.store.Masters().List(ctx)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return job.Errorf(job.CodeConflict, "another history can be adopted while no master is alive, and %s is", others[0].ID)
		}
	}
	has, err := s.store.ShareHistory(ctx, mine, s.cfg.AdoptDB)
	if err != nil || has.ID == mine.ID {
		return err
	}
	return job.Errorf(job.CodeConflict, "the cluster's history is in %s since %s, and this master was given another one, in %s",
		has.Place, has.Since.Format(time.RFC3339), mine.Place).
		WithHint("give all masters the same --db; to take history along to another database: rota history copy; to leave the old one behind: --adopt-history")
}

// placeOf says where a history is, without its password.
func placeOf(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && isPostgres(dsn) {
		return "PostgreSQL at " + u.Host + u.Path
	}
	return "SQLite on " + hostName() + ", " + strings.TrimPrefix(dsn, "sqlite:")
}

// refuseSplitHistory refuses a master with a history of its own beside another: each would know half of it.
func (s *Server) refuseSplitHistory(ctx context.Context, dsn string) error {
	if isPostgres(dsn) {
		return nil
	}
	others, _, err := s.store.Masters().List(ctx)
	if err != nil {
		return err
	}
	if len(others) == 0 {
		return nil
	}
	return job.Errorf(job.CodeConflict, "master %s is alive, and a second one can't keep its history in SQLite", others[0].ID).
		WithHint("give all masters one PostgreSQL with --db postgres://…; where that one was just killed, wait for its lease (%s) to lapse", s.cfg.Lease)
}
