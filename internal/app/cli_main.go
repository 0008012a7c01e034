package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// The exit codes of the command line.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitForbidden   = 4
	exitTimeout     = 124
	exitInterrupted = 130
)

// Stdio is what a command has of the world around it.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(name string) (string, bool) // default: os.LookupEnv
	Now      func() time.Time                 // default: time.Now
}

// OSStdio is the process's own.
func OSStdio() Stdio { return Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// Main runs a command and returns its exit code. The context ends when the user interrupts.
func Main(ctx context.Context, args []string, stdio Stdio) int {
	c := newCLI(stdio)
	defer c.close()
	root := c.root()
	root.SetArgs(args)
	return c.exit(ctx, root.ExecuteContext(ctx))
}

// cli is one run of a command.
type cli struct {
	Stdio
	server, tokenFile, data string // the global flags
	clients                 []*client.Client
}

func newCLI(stdio Stdio) *cli {
	c := &cli{Stdio: stdio}
	if c.Env == nil {
		c.Env = os.LookupEnv
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c *cli) close() {
	for _, cl := range c.clients {
		cl.Close()
	}
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rota",
		Short: "A distributed cron: what you write runs on time, and every run is on record",
		Long: "Rota runs tasks on timers on one machine or many, and keeps a record of every run.\n\n" +
			"Start everything on this machine with: rota up",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	root.SetFlagErrorFunc(flagError)
	p := root.PersistentFlags()
	p.StringVar(&c.server, "server", "", "address of the server, or of several masters: A,B,C (default $ROTA_SERVER or "+client.DefaultServer+")")
	p.StringVar(&c.tokenFile, "token-file", "", "file with the token (default $ROTA_TOKEN itself, or DATA/admin.token)")
	p.StringVar(&c.data, "data", "", "data folder (default $ROTA_DATA or ~/.local/share/rota)")
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"server", "Servers:", newServerCommands(c.dataDir, c.Err)},
		{"task", "Tasks:", []*cobra.Command{
			c.applyCommand(), c.diffCommand(), c.deleteCommand(), c.editCommand(), c.pauseCommand(), c.resumeCommand(),
			c.checkCommand(), c.cronCommand(), c.nextCommand(), c.whyCommand(),
		}},
		{"run", "Runs:", []*cobra.Command{c.runCommand(), c.execCommand(), c.waitCommand(), c.logsCommand(), c.killCommand(), c.cancelCommand(), c.retryCommand()}},
		{"look", "Looking around:", []*cobra.Command{c.getCommand(), c.describeCommand(), c.statusCommand()}},
		{"cluster", "The cluster:", []*cobra.Command{c.cordonCommand(true), c.cordonCommand(false), c.drainCommand(), c.leaseCommand(), c.labelCommand(), c.configCommand(), c.notifyCommand(), c.monitorCommand(), c.calendarCommand(), c.memberCommand(), c.pkiCommand(), c.historyCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(c.versionCommand(), guardCommand())
	return root
}

// usageError is a command that was not written as it must be.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// exitError is an exit code that needs no further words, or has had them.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// flagError is a usage error, with the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	hint := "see: " + cmd.CommandPath() + " --help"
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := job.Near(unknown.GetSpecifiedName(), names); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return &usageError{err: err, hint: hint}
}

// exit says what went wrong and returns the exit code.
func (c *cli) exit(ctx context.Context, err error) int {
	var code *exitError
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return code.code
	case errors.As(err, &usage):
		c.sayf("rota: %s", err)
		if usage.hint != "" {
			c.sayf("%s", usage.hint)
		}
		return exitUsage
	case strings.HasPrefix(err.Error(), "unknown command "): // cobra's, with what was probably meant
		c.sayf("rota: %s", strings.TrimSpace(err.Error()))
		c.sayf("see: rota --help")
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	c.fail(err)
	switch job.CodeOf(err) {
	case job.CodeUnauthorized, job.CodeForbidden:
		return exitForbidden
	}
	return exitFailed
}

// fail tells an error. Where it is only a list of faults with their places, it stands as it is.
func (c *cli) fail(err error) {
	var e *job.Error
	if errors.As(err, &e) && e.Message == "" && err.Error() == e.Error() {
		c.sayf("%s", e)
		return
	}
	c.sayf("rota: %s", err)
}

// sayf talks: to a person, on stderr.
func (c *cli) sayf(format string, args ...any) { fmt.Fprintf(c.Err, format+"\n", args...) }

// terminal tells whether a person reads what is written there.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colour tells whether data on stdout may be coloured.
func (c *cli) colour() bool {
	no, _ := c.Env("NO_COLOR")
	return no == "" && terminal(c.Out)
}

// arguments checks their number: at most -1 is any.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := "usage: " + cmd.UseLine()
		switch {
		case len(args) < least:
			return usagef(hint, "%s needs %s", cmd.CommandPath(), what)
		case most >= 0 && len(args) > most:
			return usagef(hint, "%s does not take %q", cmd.CommandPath(), args[most])
		}
		return nil
	}
}
