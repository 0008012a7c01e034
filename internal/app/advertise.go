package app

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"net/url"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

// checkAdvertise checks the address at which others reach the API.
func (c *ServerConfig) checkAdvertise(f *job.Faults) {
	u, err := url.Parse(c.Advertise)
	if c.Advertise == "" || err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && u.RawQuery == "" {
		return
	}
	f.AddHint("--advertise", "write it as "+c.scheme()+"://HOST:PORT", "%q is not an address of an API", c.Advertise)
}

// advertised is where others reach the API: what --advertise says, else where it is served.
func (s *Server) advertised() string {
	if s.cfg.Advertise != "" {
		return s.cfg.Advertise
	}
	return s.URL()
}

// reachedAt is where a node reaches the API, which it calls to send logs. The node of this process takes the shortest way.
func (s *Server) reachedAt(node job.NodeID) []string {
	if s.listener == nil {
		return nil
	}
	if s.cfg.Role == RoleUp && node == job.NodeID(s.cfg.Name) {
		return []string{s.loopbackURL()}
	}
	return []string{s.advertised()}
}

// loopbackURL is where the API is reached from this machine.
func (s *Server) loopbackURL() string {
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return s.URL()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if !ip.Is4() {
			host = "::1"
		}
	}
	return s.cfg.scheme() + "://" + net.JoinHostPort(host, port)
}

// pin tells the certificate that the API is served with from others.
func (s *Server) pin() string {
	if s.tls == nil {
		return ""
	}
	sum := sha256.Sum256(s.tls.Certificates[0].Certificate[0])
	return hex.EncodeToString(sum[:])
}

// openLogs opens the folder in which the node keeps what its runs write.
func (s *Server) openLogs() (*runlog.Dir, error) {
	return runlog.Open(runlog.Options{
		Dir: s.data.join("logs"), PerRun: int64(s.cfg.LogPerRun), PerNode: int64(s.cfg.LogPerNode), Logger: s.log,
	})
}
