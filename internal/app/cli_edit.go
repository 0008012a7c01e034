package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) editCommand() *cobra.Command {
	return &cobra.Command{
		Use: "edit [KIND] NAME", Short: "Change a task, or what tasks use, in your editor",
		Long: "Open a task in $VISUAL or $EDITOR, and write it when the editor is closed. A text with a fault is opened again, with the\n" +
			"fault as a comment. Nothing is written where somebody else changed it meanwhile: your text is kept in a file.\n\n" +
			"With a kind before the name that is edited: task, template, group, receiver, monitor or calendar.",
		Example: "  rota edit nightly-backup\n  rota edit template pg\n  rota edit group etl\n  rota edit calendar holidays",
		Args:    arguments(1, 2, "a task, or a kind and a name"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			kind := "task"
			if len(args) > 0 {
				kind = strings.TrimSuffix(args[0], "s")
			}
			names := map[string]cobra.CompletionFunc{
				"task": c.completeTasks, "template": c.completeTemplates, "group": c.completeGroups, "receiver": c.completeReceivers,
				"monitor": c.completeMonitors, "calendar": c.completeCalendars,
			}[kind]
			if len(args) > 1 || names == nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return names(cmd, nil, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name := "task", args[0]
			if len(args) > 1 {
				kind, name = strings.TrimSuffix(args[0], "s"), args[1]
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			d, err := c.open(cmd.Context(), cl, kind, name)
			if err != nil {
				return err
			}
			return c.edit(cmd.Context(), d)
		},
	}
}

// edited is a document in an editor.
type edited struct {
	what string // a person calls it
	text []byte // as it is kept
	// write writes what a text holds in the place of the version that was read. It is a conflict where that is not there any more.
	write func(ctx context.Context, text []byte) (*client.Applied, error)
}

// open reads a document to edit it.
func (c *cli) open(ctx context.Context, cl *client.Client, kind, name string) (*edited, error) {
	switch kind {
	case "task":
		ref, err := parseRef(name)
		if err != nil {
			return nil, err
		}
		v, err := cl.Task(ctx, ref)
		if err != nil {
			return nil, err
		}
		return editing("task", v.Ref().String(), v.Source(), v.Revision, func(d *job.Documents) []job.Task { return d.Tasks }, cl.PutTask)
	case "template":
		e, err := cl.Template(ctx, name)
		if err != nil {
			return nil, err
		}
		return editing(kind, name, &e.Document, e.Revision, func(d *job.Documents) []job.Template { return d.Templates }, cl.PutTemplate)
	case "receiver":
		e, err := cl.Receiver(ctx, name)
		if err != nil {
			return nil, err
		}
		return editing(kind, name, &e.Document, e.Revision, func(d *job.Documents) []job.Receiver { return d.Receivers }, cl.PutReceiver)
	case "monitor":
		v, err := cl.Monitor(ctx, name)
		if err != nil {
			return nil, err
		}
		return editing(kind, name, &v.Document, v.Revision, func(d *job.Documents) []job.Monitor { return d.Monitors }, cl.PutMonitor)
	case "group":
		v, err := cl.Group(ctx, name)
		if err != nil {
			return nil, err
		}
		e := v.Document
		if e == nil { // there are tasks in it, and nothing is said of it yet
			e = &job.Entry[job.Group]{Document: job.Group{Name: name}}
		}
		return editing(kind, name, &e.Document, e.Revision, func(d *job.Documents) []job.Group { return d.Groups }, cl.PutGroup)
	case "calendar":
		v, err := cl.Calendar(ctx, name)
		if err != nil {
			return nil, err
		}
		return c.editingCalendar(cl, v)
	}
	kinds := []string{"task", "template", "group", "receiver", "monitor", "calendar"}
	return nil, usagef(didYouMean(kind, kinds), "%q can't be edited", kind)
}

// editing is a document of a sort in an editor, as it was read at a revision; of finds it among what a text holds.
func editing[T any](sort, name string, doc *T, rev int64, of func(*job.Documents) []T, put func(context.Context, T, int64) (*client.Applied, error)) (*edited, error) {
	text, err := job.MarshalDocument(doc)
	if err != nil {
		return nil, err
	}
	what := sort + " " + name
	return &edited{what: what, text: text, write: func(ctx context.Context, text []byte) (*client.Applied, error) {
		docs, err := job.ReadDocument(sort+"s", "", text)
		if err != nil {
			return nil, err
		}
		if docs.What()[0] != what {
			return nil, job.Errorf(job.CodeInvalid, "the text must hold %s, and holds %s", what, docs.What()[0]).
				WithHint("a name can't be edited; make a new %s with: rota apply", sort)
		}
		a, err := put(ctx, of(&docs)[0], rev)
		return a, docs.Locate(err)
	}}, nil
}

// editingCalendar is a calendar in an editor: its description and its ranges. Where they came from stays.
func (c *cli) editingCalendar(cl *client.Client, v *client.CalendarView) (*edited, error) {
	text, err := job.MarshalDocument(struct {
		Description string   `json:"description"`
		Ranges      []string `json:"ranges"`
	}{v.Calendar.Description, v.Calendar.Ranges})
	if err != nil {
		return nil, err
	}
	what := "calendar " + v.Calendar.Name
	return &edited{what: what, text: text, write: func(ctx context.Context, text []byte) (*client.Applied, error) {
		cal, err := job.ReadCalendar(v.Calendar.Name, what, text, c.Now())
		if err != nil {
			return nil, err
		}
		cal.Source, cal.Through = v.Calendar.Source, v.Calendar.Through
		now, err := cl.PutCalendar(ctx, cal, v.Revision)
		if err != nil {
			return nil, err
		}
		a := &client.Applied{Kind: "calendar", Name: cal.Name, Change: now.Change}
		if n := len(now.Tasks); n > 0 && now.Change == client.Configured {
			a.Warnings = []string{verb(n, "task names", "tasks name") + " it"}
		}
		return a, nil
	}}, nil
}

// edit has a document edited until it is valid, unchanged, or given up.
func (c *cli) edit(ctx context.Context, d *edited) error {
	f, err := os.CreateTemp("", "rota-*.yaml")
	if err != nil {
		return err
	}
	name := f.Name()
	f.Close()
	intro := "# Save and close to write the " + strings.Fields(d.what)[0] + "; leave it unchanged to change nothing.\n"
	text := append([]byte(intro), d.text...)
	for {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			return err
		}
		if err := c.runEditor(ctx, name); err != nil {
			return fmt.Errorf("%w; your text is in %s", err, name)
		}
		edited, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		body := withoutComments(edited)
		if bytes.Equal(body, withoutComments(d.text)) {
			c.sayf("%s is unchanged", d.what)
			return os.Remove(name)
		}
		if bytes.Equal(edited, text) && !bytes.HasPrefix(text, []byte(intro)) {
			return job.Errorf(job.CodeInvalid, "nothing was written: the fault is still there").WithHint("your text is in %s", name)
		}
		a, err := d.write(ctx, body)
		switch job.CodeOf(err) {
		case "":
			fmt.Fprintf(c.Out, "%s %s\n", a.What(), a.Change)
			for _, w := range a.Warnings {
				c.sayf("%s: %s", a.What(), w)
			}
			return os.Remove(name)
		case job.CodeInvalid:
			text = withFault(err, body)
		default:
			return fmt.Errorf("%w; your text is in %s", err, name)
		}
	}
}

// withFault puts an error before a text. Its lines keep the numbers that the error tells: the comment is taken off again.
func withFault(err error, body []byte) []byte {
	var b bytes.Buffer
	b.WriteString("# Nothing was written yet:\n")
	for l := range strings.Lines(err.Error()) {
		b.WriteString("#   " + strings.TrimRight(l, "\n") + "\n")
	}
	b.WriteString("# (line 1 is the first below)\n")
	b.Write(body)
	return b.Bytes()
}

// withoutComments takes off the comment at the head of a text.
func withoutComments(text []byte) []byte {
	for bytes.HasPrefix(text, []byte("#")) {
		_, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
	}
	return text
}

// runEditor runs the user's editor, which may be a command line, on a file.
func (c *cli) runEditor(ctx context.Context, name string) error {
	editor := "vi"
	for _, v := range []string{"EDITOR", "VISUAL"} {
		if e, _ := c.Env(v); strings.TrimSpace(e) != "" {
			editor = e
		}
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.In, c.Err, c.Err
	if terminal(c.Out) {
		cmd.Stdout = c.Out
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("editor %s: %w", editor, err)
	}
	return nil
}
