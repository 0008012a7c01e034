package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/notify"
	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/internal/ways"
	"github.com/rota-dev/rota/job"
)

// NotifyConfig says what a master needs, and allows, for messages.
type NotifyConfig struct {
	NotifyAllow []string // networks that messages may go to although they are not public
	ExternalURL string   // at which people and watched jobs reach Rota; empty: none is known
}

func (c *NotifyConfig) flags(p *pflag.FlagSet) {
	p.StringSliceVar(&c.NotifyAllow, "notify-allow", nil, "network, such as 10.1.0.0/16, that messages may go to although it is not public; repeatable")
	p.StringVar(&c.ExternalURL, "external-url", "", "URL at which people and watched jobs reach Rota, for the links in messages and the addresses of pings")
}

func (c *NotifyConfig) complete(f *job.Faults) {
	if _, err := ways.ParseNetworks(c.NotifyAllow); err != nil {
		f.AddError("--notify-allow", err)
	}
	if c.ExternalURL != "" {
		if err := job.CheckNotifyURL(c.ExternalURL); err != nil {
			f.AddHint("--external-url", "write it such as https://rota.example.com", "%q is no URL of http or https", c.ExternalURL)
		}
	}
}

// notifier sends messages.
func (s *Server) notifier() *notify.Sender {
	allow, err := ways.ParseNetworks(s.cfg.NotifyAllow)
	if err != nil { // complete has refused it
		allow = nil
	}
	return &notify.Sender{Secrets: secrets.Dir(s.cfg.Secrets), Allow: allow, Now: time.Now}
}

func (c *cli) notifyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "notify", Short: "Try whether messages arrive", Example: "  rota notify test ops"}
	test := &cobra.Command{
		Use: "test RECEIVER", Short: "Send a message now, and show what the receiver answers", Args: arguments(1, 1, "a receiver"), ValidArgsFunction: c.completeReceivers,
	}
	out := output(test)
	test.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.client()
		if err != nil {
			return err
		}
		d, err := cl.TestReceiver(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		done, err := c.encode(*out, d)
		if err != nil {
			return err
		}
		if d.Status != job.DeliverySent {
			return job.Errorf(job.CodeUnavailable, "receiver %s did not take the message: %s", args[0], d.Answer)
		}
		if !done {
			fmt.Fprintf(c.Out, "receiver %s took the message: %s\n", args[0], d.Answer)
		}
		return nil
	}
	cmd.AddCommand(test)
	return kinds(cmd)
}

func (c *cli) getReceivers() *cobra.Command {
	return listing[job.Entry[job.Receiver]]{
		use: "receivers [NAME…]", aliases: []string{"receiver"}, short: "List the receivers of messages", complete: c.completeReceivers,
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, names []string) ([]job.Entry[job.Receiver], error) {
			if len(names) == 0 {
				return cl.Receivers(ctx)
			}
			return named(names, func(n string) (*job.Entry[job.Receiver], error) { return cl.Receiver(ctx, n) })
		},
		name: func(e *job.Entry[job.Receiver]) string { return e.Document.Name },
		table: func(c *cli, list []job.Entry[job.Receiver]) *table {
			t := &table{head: []string{"RECEIVER", "WAY", "WHERE", "UPDATED"}, wide: 4}
			for i := range list {
				r := &list[i].Document
				way, where := "webhook", ""
				switch {
				case r.Mail != nil:
					way, where = "mail", strings.Join(r.Mail.To, ", ")
				case r.Slack != nil:
					way, where = "slack", r.Slack.URL.Text
				case r.Webhook != nil:
					where = r.Webhook.URL.Text
				}
				t.add(r.Name, way, clip(where, 60), c.when(list[i].UpdatedAt))
			}
			return t
		},
		none: "there are no receivers; apply a file with a list receivers:",
	}.command(c)
}

func (c *cli) completeReceivers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completing(c, cmd, args, (*client.Client).Receivers, func(v *job.Entry[job.Receiver]) string { return v.Document.Name })
}

func (c *cli) getDeliveries() *cobra.Command {
	var receiver, status string
	return listing[job.Delivery]{
		use: "deliveries", aliases: []string{"delivery"}, short: "List messages and what became of them, newest first",
		example: "  rota get deliveries --receiver ops --status waiting\n  rota get deliveries --task nightly-backup\n  rota get deliveries --group etl",
		flags: func(cmd *cobra.Command, f *filters) {
			cmd.Flags().StringVar(&receiver, "receiver", "", "to this receiver alone")
			cmd.Flags().StringVar(&status, "status", "", "waiting, sent, failed or summarised")
			f.tasks(cmd.Flags())
			cmd.Flags().StringVarP(&f.group, "group", "g", "", "only of the executions of this group")
			f.limited(cmd.Flags(), 50, "; at most 1000")
		},
		list: func(ctx context.Context, cl *client.Client, f *filters, _ []string) ([]job.Delivery, error) {
			about := f.group // of its executions
			switch {
			case f.task != "" && f.group == job.MonitorGroup:
				about = f.task
			case f.task != "":
				about = job.Ref(f.group, f.task).String()
			}
			return cl.Deliveries(ctx, job.DeliveryFilter{Receiver: receiver, Task: about, Status: job.DeliveryStatus(status), Limit: f.limit})
		},
		name: func(d *job.Delivery) string { return d.ID },
		table: func(c *cli, list []job.Delivery) *table {
			t := &table{head: []string{"CREATED", "RECEIVER", "ABOUT", "NODE", "EVENT", "STATUS", "ATTEMPTS", "ANSWER", "ID"}, wide: 8}
			for i := range list {
				d := &list[i]
				t.add(c.when(d.Created), d.Receiver, d.Subject, d.Node, d.Event, d.Status, d.Attempts, clip(d.Answer, 60), d.ID)
			}
			return t
		},
		none: "there are no such messages",
	}.command(c)
}

func (c *cli) getMonitors() *cobra.Command {
	return listing[client.MonitorView]{
		use: "monitors [NAME…]", aliases: []string{"monitor"}, short: "List the jobs that Rota watches and does not run", complete: c.completeMonitors,
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, names []string) ([]client.MonitorView, error) {
			if len(names) == 0 {
				return cl.Monitors(ctx)
			}
			return named(names, func(n string) (*client.MonitorView, error) { return cl.Monitor(ctx, n) })
		},
		name: func(v *client.MonitorView) string { return v.Document.Name },
		table: func(c *cli, list []client.MonitorView) *table {
			t := &table{head: []string{"MONITOR", "TIMER", "NEXT", "PINGED", "LAST", "URL"}}
			for i := range list {
				v := &list[i]
				last := "-"
				switch {
				case v.Running != nil:
					last = "running"
				case v.Last != nil:
					last = string(v.Last.Outcome)
				}
				t.add(v.Document.Name, strings.Join(v.Document.Timer.Lines(), ", "), c.when(v.Next), c.when(v.LastPing), last, v.URL)
			}
			return t
		},
		none: "there are no monitors; apply a file with a list monitors:",
	}.command(c)
}

func (c *cli) completeMonitors(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completing(c, cmd, args, (*client.Client).Monitors, func(v *client.MonitorView) string { return v.Document.Name })
}

func (c *cli) monitorCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "monitor", Short: "Renew the key of a monitor", Example: "  rota monitor renew backup-nas"}
	renew := &cobra.Command{
		Use: "renew MONITOR", Short: "Give a monitor another key: the old one opens nothing any more", Args: arguments(1, 1, "a monitor"), ValidArgsFunction: c.completeMonitors,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			v, err := cl.RenewMonitorKey(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(c.Out, v.URL)
			return nil
		},
	}
	cmd.AddCommand(renew)
	return kinds(cmd)
}
