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
		Use: "edit TASK", Short: "Change a task in your editor",
		Long: "Open a task in $VISUAL or $EDITOR, and write it when the editor is closed. A text with a fault is opened again, with the\n" +
			"fault as a comment. Nothing is written where the task was changed by someone else meanwhile.",
		Args: arguments(1, 1, "a task"), ValidArgsFunction: c.completeTasks,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			v, err := cl.Task(cmd.Context(), ref)
			if err != nil {
				return err
			}
			return c.edit(cmd.Context(), cl, v)
		},
	}
}

// edit has a task edited until it is valid, unchanged, or given up.
func (c *cli) edit(ctx context.Context, cl *client.Client, v *client.TaskView) error {
	original, err := job.MarshalTask(v.Source())
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "rota-*.yaml")
	if err != nil {
		return err
	}
	name := f.Name()
	f.Close()
	intro := "# Save and close to write the task; leave it unchanged to change nothing.\n"
	text := append([]byte(intro), original...)
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
		if bytes.Equal(body, withoutComments(original)) {
			c.sayf("task %s is unchanged", v.Ref())
			return os.Remove(name)
		}
		if bytes.Equal(edited, text) && !bytes.HasPrefix(text, []byte(intro)) {
			return job.Errorf(job.CodeInvalid, "nothing was written: the fault is still there").WithHint("your text is in %s", name)
		}
		err = c.writeEdited(ctx, cl, v, body)
		switch job.CodeOf(err) {
		case "":
			return os.Remove(name)
		case job.CodeInvalid:
			text = withFault(err, body)
		default:
			return fmt.Errorf("%w; your text is in %s", err, name)
		}
	}
}

// writeEdited writes the task that a text holds, where it is still as it was read.
func (c *cli) writeEdited(ctx context.Context, cl *client.Client, v *client.TaskView, text []byte) error {
	tasks, err := job.ReadTasks("", text)
	if err != nil {
		return err
	}
	if len(tasks) != 1 || tasks[0].Ref() != v.Ref() {
		return job.Errorf(job.CodeInvalid, "the text must hold the one task %s", v.Ref()).WithHint("name and group can't be edited; make a new task with: rota apply")
	}
	a, err := cl.PutTask(ctx, tasks[0], v.Revision)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "task %s %s\n", a.Task, a.Change)
	for _, w := range a.Warnings {
		c.sayf("task %s: %s", a.Task, w)
	}
	return nil
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
