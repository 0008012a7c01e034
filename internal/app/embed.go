package app

import (
	"net/url"
	"slices"
	"strings"

	"github.com/rota-dev/rota/job"
)

// checkEmbed checks the members of an etcd that several masters embed.
func (c *ServerConfig) checkEmbed(f *job.Faults) {
	if len(c.Embed) == 0 {
		return
	}
	const form = "write it as --embed m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380,m3=https://10.0.0.3:2380"
	if len(c.Etcd) > 0 {
		f.Add("--embed", "an etcd is embedded, or another one is used with --etcd, not both")
	}
	var names []string
	for _, m := range c.Embed {
		name, at, ok := strings.Cut(m, "=")
		u, err := url.Parse(at)
		if !ok || err != nil || job.CheckName("member", name) != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Port() == "" || u.Path != "" {
			f.AddHint("--embed", form, "%q is not a member's name and address", m)
			return
		}
		if slices.Contains(names, name) {
			f.AddHint("--embed", "each needs a name of its own", "member %s is there twice", name)
		}
		names = append(names, name)
		switch {
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			f.AddHint("--embed", "give an https:// URL, with --etcd-ca, --etcd-cert and --etcd-key; rota pki makes them", "%s would let everybody who reaches it write to etcd", at)
		case u.Scheme == "https" && (c.EtcdTLS.CA == "" || c.EtcdTLS.Cert == "" || c.EtcdTLS.Key == ""):
			f.AddHint("--embed", "rota pki makes them", "%s needs --etcd-ca, --etcd-cert and --etcd-key", at)
		}
	}
	if !slices.Contains(names, c.Name) {
		f.AddHint("--embed", "its name is that of --name", "this one, %s, is not among the members %s", c.Name, strings.Join(names, ", "))
	}
}

// peerURL is where the others reach this member.
func (c *ServerConfig) peerURL() string {
	for _, m := range c.Embed {
		if name, at, _ := strings.Cut(m, "="); name == c.Name {
			return at
		}
	}
	return ""
}
