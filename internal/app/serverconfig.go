package app

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/store"
)

// Role says which parts a server has.
type Role string

// The roles.
const (
	RoleUp     Role = "up"     // etcd, master and node in one process
	RoleMaster Role = "master" // a master, with etcd embedded or elsewhere
	RoleNode   Role = "node"   // an agent
)

// ServerConfig is what a server is started with.
type ServerConfig struct {
	Role      Role
	Data      string // the data folder
	Ephemeral bool   // up: a data folder that is removed at the end
	Listen    string // of the API; a node without it listens nowhere
	Advertise string // where nodes reach the API; empty: where it is served
	Name      string // of the node, or of the master
	Labels    map[string]string
	Policy    string   // the node's own policy; empty: the default file, if there is one
	Etcd      []string // endpoints; none: an embedded member (not for a node)
	EtcdURL   string   // where an embedded member serves other processes; empty: nowhere
	Embed     []string // the embedded members, as NAME=URL, this one's own (Name) among them; none: this one alone
	EtcdTLS   store.TLSFiles
	Prefix    string   // of the keys in etcd
	DB        string   // history; empty: SQLite in the data folder
	AdoptDB   bool     // take another history than the cluster had
	Files     []string // task files to apply
	TLSCert   string
	TLSKey    string
	PlainHTTP bool // listen beyond loopback without TLS
	Lease     time.Duration
	KeepAge   time.Duration // how long history keeps records; 0: for ever
	KeepRuns  int           // how many records of a task; 0: all
	KeepBytes job.Size      // of all records; 0: no limit
	KeepStats time.Duration // how long it keeps statistics; 0: for ever
	KeepLeast time.Duration // how long a record stays in any case after it was stored; 0: an hour
	Away      time.Duration // how old the oldest instant of a common task may become that an absent node owes, before all of them are told; 0: they wait
	// Guarded has commands run by a guard: a process beside this one, of this program's executable, which comes to [Main] with the
	// argument guard. Runs then outlive this process. Without, they are this process's own, and end with it.
	Guarded bool
	// OwnRuns lets this process, if it is Guarded, execute ordinary runs itself while they are some milliseconds old, where the kernel lets the guard go
	// on with them. The process becomes a child sub-reaper.
	OwnRuns  bool
	StopRuns bool // the stop ends what runs, also where a guard could go on with it
	// LogPerRun and LogPerNode bound what the node keeps of the output of an attempt and of all runs; 0: the defaults.
	LogPerRun, LogPerNode job.Size
	LogLevel              string
	LogFormat             string

	WaysConfig   // of the node
	NotifyConfig // of the master
}

// defaultListen is where the API is served when nothing else is said.
const defaultListen = "127.0.0.1:7682"

// minLogPerRun is what a log may be bounded to: some of its segments must fit.
const minLogPerRun = 64 << 10

// complete fills in what was left out and checks the rest; all faults come at once.
func (c *ServerConfig) complete() error {
	var f job.Faults
	if c.Listen == "" && c.Role != RoleNode {
		c.Listen = defaultListen
	}
	if c.Name == "" {
		c.Name = hostName()
	}
	what := "node"
	if c.Role == RoleMaster {
		what = "master"
	}
	if err := job.CheckName(what, c.Name); err != nil {
		f.AddError("--name", err)
	}
	if c.Listen != "" {
		c.checkListen(&f)
	}
	c.checkAdvertise(&f)
	if c.Role == RoleNode && len(c.Etcd) == 0 {
		f.AddHint("--etcd", "such as --etcd http://10.0.0.5:2379", "a node needs the address of etcd")
	}
	c.WaysConfig.complete(&f)
	c.NotifyConfig.complete(&f)
	if (c.TLSCert == "") != (c.TLSKey == "") {
		f.Add("--tls-cert", "a certificate and its key come together, as --tls-cert and --tls-key")
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Second
	}
	if c.Lease < job.MinLease || c.Lease > job.MaxLease {
		f.Add("--lease", "%s is not between 2s and 5m", c.Lease)
	}
	if c.KeepAge < 0 || c.KeepRuns < 0 || c.KeepBytes < 0 || c.KeepStats < 0 || c.KeepLeast < 0 || c.Away < 0 {
		f.Add("--keep", "what history keeps can't be negative")
	}
	if c.KeepLeast > 0 && c.KeepLeast < time.Minute {
		f.Add("--keep-at-least", "%s is less than a minute, in which a master that died may be replaced", c.KeepLeast)
	}
	if scheme, _, ok := strings.Cut(c.DB, "://"); ok && !isPostgres(c.DB) && scheme != "sqlite" {
		f.AddHint("--db", "write sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE", "there is no history in %q", scheme)
	}
	if len(c.Etcd) > 0 && c.EtcdURL != "" {
		f.Add("--etcd-listen", "an etcd of one's own is served here, or another one is used with --etcd, not both")
	}
	if u, err := url.Parse(c.EtcdURL); c.EtcdURL != "" && (err != nil || u.Scheme != "https" && !isLoopback(u.Hostname())) {
		f.AddHint("--etcd-listen", "give an https:// URL, with --etcd-ca, --etcd-cert and --etcd-key",
			"%s would let everybody who reaches it run commands on every node", c.EtcdURL)
	}
	if c.LogPerRun != 0 && c.LogPerRun < minLogPerRun {
		f.AddHint("--log-per-run", "give at least 64KiB; what is short is in the records anyway", "%s is too little", c.LogPerRun)
	}
	if run := cmp.Or(c.LogPerRun, runlog.DefaultPerRun); c.LogPerNode != 0 && c.LogPerNode < run {
		f.AddHint("--log-per-node", "give more, or less for each run with --log-per-run", "%s is less than one run may have, which is %s", c.LogPerNode, run)
	}
	c.checkEmbed(&f)
	for k := range c.Labels {
		if err := job.CheckName("label", k); err != nil {
			f.AddError("--label", err)
		}
	}
	return f.Err("rota " + string(c.Role) + " can't start like this")
}

// checkListen refuses to serve the API in clear text to other machines by accident.
func (c *ServerConfig) checkListen(f *job.Faults) {
	host, port, err := net.SplitHostPort(c.Listen)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		f.AddHint("--listen", "write HOST:PORT, such as "+defaultListen, "%q is not an address to listen on", c.Listen)
		return
	}
	if c.TLSCert != "" || c.PlainHTTP || isLoopback(host) {
		return
	}
	f.AddHint("--listen", "give --tls-cert and --tls-key, or accept it with --plain-http",
		"%s can be reached from other machines, and tokens would travel in clear text", c.Listen)
}

// isPostgres tells whether a dsn is of PostgreSQL, which several masters can share.
func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// masterName is the name with room for what tells two lives of a master apart.
func (c *ServerConfig) masterName() string {
	const suffix = len("-01234567")
	return strings.TrimRight(c.Name[:min(len(c.Name), job.MaxName-suffix)], "-._")
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// hostName is the machine's name as a node may have it.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "node"
	}
	name = strings.Trim(notInName.ReplaceAllString(name, "-"), "-._")
	if len(name) > job.MaxName {
		name = strings.Trim(name[:job.MaxName], "-._")
	}
	if name == "" {
		return "node"
	}
	return name
}

// parseLabels reads K=V words.
func parseLabels(words []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, usagef("", "--label %q is not of the form K=V", w)
		}
		labels[k] = v
	}
	return labels, nil
}

// scheme is how the API is reached.
func (c *ServerConfig) scheme() string {
	if c.TLSCert != "" {
		return "https"
	}
	return "http"
}

func (c *ServerConfig) url(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = hostName()
	}
	return fmt.Sprintf("%s://%s", c.scheme(), net.JoinHostPort(host, port))
}

// etcdTLS is the client's side of TLS to etcd; nil where none is configured.
func (c *ServerConfig) etcdTLS() (*tls.Config, error) {
	if c.EtcdTLS == (store.TLSFiles{}) {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.EtcdTLS.Cert != "" || c.EtcdTLS.Key != "" {
		cert, err := tls.LoadX509KeyPair(c.EtcdTLS.Cert, c.EtcdTLS.Key)
		if err != nil {
			return nil, job.Errorf(job.CodeInvalid, "--etcd-cert %s, --etcd-key %s: %w", c.EtcdTLS.Cert, c.EtcdTLS.Key, err).
				WithHint("both are files in PEM, the certificate with its chain and the key that belongs to it")
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	if c.EtcdTLS.CA != "" {
		pem, err := os.ReadFile(c.EtcdTLS.CA)
		if err != nil {
			return nil, job.Errorf(job.CodeInvalid, "--etcd-ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, job.Errorf(job.CodeInvalid, "--etcd-ca: %s holds no certificate", c.EtcdTLS.CA)
		}
	}
	return conf, nil
}
