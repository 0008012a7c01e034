package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/internal/policy"
	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

// The flags of the servers.
type serverFlags struct {
	cfg    ServerConfig
	labels []string
}

func (f *serverFlags) common(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.cfg.Name, "name", "", "the name of this node or master (default: the host's)")
	p.StringVar(&f.cfg.EtcdTLS.CA, "etcd-ca", "", "certificates (PEM) of the authority of etcd's peers")
	p.StringVar(&f.cfg.EtcdTLS.Cert, "etcd-cert", "", "certificate (PEM) for etcd")
	p.StringVar(&f.cfg.EtcdTLS.Key, "etcd-key", "", "its key (PEM)")
	p.StringVar(&f.cfg.Prefix, "etcd-prefix", "", "the prefix of all keys in etcd (default /rota/v1/)")
	p.DurationVar(&f.cfg.Lease, "lease", 10*time.Second, "how long a node or a leader that fell silent counts as alive")
	p.StringVar(&f.cfg.LogLevel, "log-level", "info", "debug, info, warn or error")
	p.StringVar(&f.cfg.LogFormat, "log-format", "text", "text or json")
	p.StringVar(&f.cfg.TLSCert, "tls-cert", "", "certificate (PEM) to serve with")
	p.StringVar(&f.cfg.TLSKey, "tls-key", "", "its key (PEM)")
	p.BoolVar(&f.cfg.PlainHTTP, "plain-http", false, "listen beyond loopback without TLS: tokens travel in clear text")
}

func (f *serverFlags) master(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.cfg.Listen, "listen", defaultListen, "address of the API")
	p.StringVar(&f.cfg.Advertise, "advertise", "", "URL at which nodes reach the API, to send logs that are followed (default: where it is served)")
	p.StringVar(&f.cfg.DB, "db", "", "history: sqlite:FILE or postgres://… (default: SQLite in the data folder)")
	p.StringVar(&f.cfg.EtcdURL, "etcd-listen", "", "serve the embedded etcd to nodes at this URL, such as https://10.0.0.5:2379")
	p.StringSliceVar(&f.cfg.Embed, "embed", nil, "members of an etcd that several masters embed, this one (--name) among them: NAME=https://HOST:2380,…")
	p.BoolVar(&f.cfg.AdoptDB, "adopt-history", false, "go on with the history of --db, although the cluster's is another one, which is left behind")
	p.StringSliceVarP(&f.cfg.Files, "file", "f", nil, "task file or folder to apply at the start; repeatable")
	p.Var((*durationFlag)(&f.cfg.KeepAge), "keep", "how long history keeps records, such as 90d (default: for ever)")
	f.cfg.NotifyConfig.flags(p)
	p.IntVar(&f.cfg.KeepRuns, "keep-runs", 0, "how many records of each task history keeps (default: all)")
	p.TextVar(&f.cfg.KeepBytes, "keep-size", job.Size(0), "how much history keeps, such as 20GiB; the oldest records go first (default: all)")
	f.cfg.KeepStats = 400 * 24 * time.Hour
	p.Var((*durationFlag)(&f.cfg.KeepStats), "keep-stats", "how long history keeps statistics; 0: for ever")
	f.cfg.KeepLeast = time.Hour
	p.Var((*durationFlag)(&f.cfg.KeepLeast), "keep-at-least", "how long a record stays after it was stored, whatever else is said")
	f.cfg.Away = 24 * time.Hour
	p.Var((*durationFlag)(&f.cfg.Away), "away", "how old what a node owes that is away may become before it is told as missed; 0: it waits for the node")
}

func (f *serverFlags) node(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.cfg.StopRuns, "stop-runs", false, "end what runs when this is stopped (default: SIGTERM leaves it to the next start)")
	cmd.Flags().TextVar(&f.cfg.LogPerRun, "log-per-run", job.Size(runlog.DefaultPerRun), "how much this node keeps of what one attempt writes; its oldest goes first")
	cmd.Flags().TextVar(&f.cfg.LogPerNode, "log-per-node", job.Size(runlog.DefaultPerNode), "how much it keeps of what all runs write; the oldest runs go first")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "label K=V of this node; repeatable")
	f.cfg.WaysConfig.flags(cmd.Flags())
	cmd.Flags().StringVar(&f.cfg.Policy, "policy", "", "the node's own policy (default "+policy.DefaultFile+", if there is one); SIGHUP reads it again")
}

func (f *serverFlags) etcd(cmd *cobra.Command, what string) {
	cmd.Flags().StringSliceVar(&f.cfg.Etcd, "etcd", nil, what)
}

// durationFlag is a duration that knows days.
type durationFlag time.Duration

func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return job.Duration(*d).String()
}
func (d *durationFlag) Type() string { return "duration" }
func (d *durationFlag) Set(s string) error {
	v, err := job.ParseDuration(s)
	*d = durationFlag(v)
	return err
}

// newServerCommands are the commands that run servers. data is the value of the global flag --data.
func newServerCommands(data func() string, errs io.Writer) []*cobra.Command {
	run := func(role Role, f *serverFlags) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) (err error) {
			f.cfg.Role, f.cfg.Data, f.cfg.Guarded, f.cfg.OwnRuns = role, data(), true, true
			if f.cfg.Ephemeral && cmd.Flags().Changed("data") {
				return usagef("leave one of them out", "--ephemeral keeps nothing, and --data says where to keep it")
			}
			if f.cfg.Labels, err = parseLabels(f.labels); err != nil {
				return err
			}
			return runServer(cmd.Context(), f.cfg, errs)
		}
	}

	var up serverFlags
	upCmd := &cobra.Command{
		Use: "up", Short: "Run everything in one process: etcd, master and node", Args: cobra.NoArgs,
		Long: "Run etcd, a master and a node in one process, on one machine.\n\n" +
			"Everything is kept in the data folder, and runs on from there at the next start.",
		RunE: run(RoleUp, &up),
	}
	up.common(upCmd)
	up.master(upCmd)
	up.node(upCmd)
	upCmd.Flags().BoolVar(&up.cfg.Ephemeral, "ephemeral", false, "keep everything in a folder that is removed at the end")

	var m serverFlags
	masterCmd := &cobra.Command{
		Use: "master", Short: "Run a master, with an embedded etcd or an external one", Args: cobra.NoArgs,
		RunE: run(RoleMaster, &m),
	}
	m.common(masterCmd)
	m.master(masterCmd)
	masterCmd.Flags().StringVar(&m.cfg.Secrets, "secrets", secrets.DefaultDir, "folder of the masters' secrets for messages, a file each, which nobody else may read")
	m.etcd(masterCmd, "endpoints of an external etcd (default: an embedded one)")

	var n serverFlags
	nodeCmd := &cobra.Command{
		Use: "node", Short: "Run a node: the agent that fires and runs jobs", Args: cobra.NoArgs,
		Long: "Run a node: the agent that fires and runs jobs on this machine.\n\nIt needs etcd, and no master, to go on.",
		RunE: run(RoleNode, &n),
	}
	n.common(nodeCmd)
	n.node(nodeCmd)
	n.etcd(nodeCmd, "endpoints of etcd, such as http://10.0.0.5:2379")
	nodeCmd.Flags().StringVar(&n.cfg.Listen, "listen", "", "serve /healthz, /readyz and /metrics here (default: nowhere; a node needs no port)")

	return []*cobra.Command{upCmd, masterCmd, nodeCmd}
}

// runServer boots a server, applies its task files, and waits for the end.
func runServer(ctx context.Context, cfg ServerConfig, errs io.Writer) (err error) {
	if err, ok := asInit(); ok {
		return err
	}
	docs, err := job.ReadFiles(cfg.Files)
	if err != nil {
		return err
	}
	var running atomic.Pointer[Server]
	ctx, over := onHangup(ctx, func() { running.Load().reload() })
	defer over()
	s, err := Start(ctx, cfg, errs)
	if err != nil {
		return err
	}
	running.Store(s)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Ready(ctx); err != nil {
		return err
	}
	if docs.Len() > 0 {
		applied, err := s.apply(ctx, docs)
		if err != nil {
			return docs.Locate(err)
		}
		for _, a := range applied {
			fmt.Fprintf(errs, "%s %s\n", a.What(), a.Change)
		}
	}
	s.greet(errs)
	defer giveBack(ctx, lookAtMemory)()
	err = s.Wait(ctx)
	if ctx.Err() != nil {
		fmt.Fprintln(errs, s.stopping(context.Cause(ctx)))
	}
	return err
}
