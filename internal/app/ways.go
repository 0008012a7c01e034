package app

import (
	"log/slog"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/internal/ways"
	"github.com/rota-dev/rota/job"
)

// WaysConfig says what a node needs, and allows, for what is no command: requests, SSH, handlers.
type WaysConfig struct {
	Secrets         string                  // the folder of the node's secrets
	HTTPAllow       []string                // networks that requests may go to although they are not public
	HTTPInsecureTLS bool                    // requests may accept any certificate
	Handlers        map[string]ways.Handler // of the program that embeds the node
	Logger          *slog.Logger            // of the program that embeds the server; nil: as LogLevel and LogFormat say

	networks []netip.Prefix
}

func (c *WaysConfig) flags(p *pflag.FlagSet) {
	p.StringVar(&c.Secrets, "secrets", secrets.DefaultDir, "folder of this node's secrets, a file each, which nobody else may read")
	p.StringSliceVar(&c.HTTPAllow, "http-allow", nil, "network, such as 10.1.0.0/16, that HTTP runs may reach although it is not public; repeatable")
	p.BoolVar(&c.HTTPInsecureTLS, "http-insecure-tls", false, "let tasks accept any certificate (tls.insecure_skip_verify)")
}

func (c *WaysConfig) complete(f *job.Faults) {
	var err error
	if c.networks, err = ways.ParseNetworks(c.HTTPAllow); err != nil {
		f.AddError("--http-allow", err)
	}
	for name := range c.Handlers {
		if err := job.CheckName("handler", name); err != nil {
			f.AddError("handler", err)
		}
	}
}

// openWays puts the other ways to run beside commands.
func (s *Server) openWays(command job.Runner, logs *runlog.Dir) *ways.Runner {
	o := ways.Options{
		Command: command, Secrets: secrets.Dir(s.cfg.Secrets), Allow: s.cfg.networks, AllowInsecureTLS: s.cfg.HTTPInsecureTLS,
		Handlers: s.cfg.Handlers, Logs: logs, Logger: s.log,
	}
	if s.policy != nil {
		o.Judge = func(a netip.Addr) (bool, error) {
			p := s.policy.Policy()
			allowed := slices.ContainsFunc(p.HTTP.Allow, func(n netip.Prefix) bool { return n.Contains(a) })
			return allowed, p.AdmitHTTP(a)
		}
	}
	w := ways.New(o)
	s.opened("other ways to run", func() error {
		w.KillAll("the agent's stop") // those whose end nobody waited for
		return w.Close()
	})
	return w
}
