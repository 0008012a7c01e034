package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) calendarCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "calendar", Short: "Write the calendars that tasks exclude as calendar:NAME",
		Example: "  rota calendar set holidays -f holidays.ics\n  rota calendar delete holidays",
	}
	cmd.AddCommand(c.calendarSet(), c.calendarDelete())
	return kinds(cmd)
}

func (c *cli) calendarSet() *cobra.Command {
	var file string
	dry := false
	cmd := &cobra.Command{
		Use: "set NAME -f FILE", Short: "Write a calendar from an iCalendar, YAML or JSON file",
		Long: "Write a calendar from a file: iCalendar, or YAML or JSON with a list of dates and ranges, or with description: and ranges:.\n" +
			"The tasks that name it follow it at once. Repeating events count for five years: set it again from time to time.",
		Example: "  rota calendar set holidays -f holidays.ics\n  rota calendar set freeze -f - <<<'[2026-12-18..2027-01-06]'",
		Args:    arguments(1, 1, "a name"), ValidArgsFunction: c.completeCalendars,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file, or - for stdin")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, but say what would")
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return usagef("usage: "+cmd.UseLine(), "%s needs -f FILE, or - for stdin", cmd.CommandPath())
		}
		cal, err := c.readCalendar(args[0], file)
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		v, err := cl.SetCalendar(cmd.Context(), cal, dry)
		if err != nil {
			return err
		}
		if done, err := c.encode(*out, v); done {
			return err
		}
		c.toldCalendar(v, *out, dry)
		return nil
	}
	return cmd
}

// toldCalendar says what became of a calendar.
func (c *cli) toldCalendar(v *client.CalendarView, out format, dry bool) {
	note := ""
	if dry {
		note = " (dry run)"
	}
	if out == asName {
		fmt.Fprintln(c.Out, v.Calendar.Name)
		return
	}
	fmt.Fprintf(c.Out, "calendar %s %s%s\n", v.Calendar.Name, v.Change, note)
	if n := len(v.Tasks); n > 0 && v.Change == client.Configured {
		c.sayf("calendar %s: %s it", v.Calendar.Name, verb(n, "task names", "tasks name"))
	}
	if n := len(v.Groups); n > 0 && v.Change == client.Configured {
		c.sayf("calendar %s: %s it", v.Calendar.Name, verb(n, "group names", "groups name"))
	}
}

func verb(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// readCalendar reads a calendar's file; - is stdin. The name is the file's where it is empty.
func (c *cli) readCalendar(name, file string) (job.Calendar, error) {
	var data []byte
	var err error
	if file == "-" {
		file = "stdin"
		data, err = io.ReadAll(io.LimitReader(c.In, maxCalendarFile+1))
	} else {
		var f *os.File
		if f, err = os.Open(file); err == nil {
			data, err = io.ReadAll(io.LimitReader(f, maxCalendarFile+1))
			f.Close()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return job.Calendar{}, job.Errorf(job.CodeInvalid, "%s: there is no such file", file)
	}
	if err != nil {
		return job.Calendar{}, err
	}
	return job.ReadCalendar(name, file, data, c.Now())
}

// maxCalendarFile is the most bytes of a file of a calendar.
const maxCalendarFile = 8 << 20

// iCalendars takes the iCalendar files out of the sources, and out of the folders among them.
func iCalendars(sources []job.Source) (calendars []string, rest []job.Source) {
	for _, source := range sources {
		if source.Text != nil {
			rest = append(rest, source)
			continue
		}
		p := source.Path
		info, err := os.Stat(p)
		switch {
		case strings.EqualFold(filepath.Ext(p), ".ics"):
			calendars = append(calendars, filepath.Clean(p))
			continue
		case err == nil && info.IsDir():
			_ = filepath.WalkDir(p, func(file string, d fs.DirEntry, err error) error {
				switch {
				case err != nil:
					return nil //nolint:nilerr // whoever reads the tasks of the folder tells of it
				case d.IsDir() && file != p && strings.HasPrefix(d.Name(), "."):
					return fs.SkipDir
				case !d.IsDir() && strings.EqualFold(filepath.Ext(file), ".ics") && !strings.HasPrefix(d.Name(), "."):
					calendars = append(calendars, file)
				}
				return nil
			})
		}
		rest = append(rest, source)
	}
	slices.Sort(calendars)
	return slices.Compact(calendars), rest
}

// readCalendars reads the calendars of files, each named as its file.
func (c *cli) readCalendars(files []string) ([]job.Calendar, error) {
	var list []job.Calendar
	for _, file := range files {
		cal, err := c.readCalendar("", file)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(list, func(o job.Calendar) bool { return o.Name == cal.Name }); i >= 0 {
			return nil, job.Errorf(job.CodeInvalid, "calendar %s stands in two files", cal.Name).
				WithHint("rename one, or name it with: rota calendar set NAME -f %s", file)
		}
		list = append(list, cal)
	}
	return list, nil
}

func (c *cli) calendarDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME…", Short: "Delete calendars that nothing names", Args: arguments(1, -1, "a name"), ValidArgsFunction: c.completeCalendars,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.deleteNamed(cmd.Context(), "calendar", args, cl.DeleteCalendar)
		},
	}
}

func (c *cli) getCalendars() *cobra.Command {
	return listing[client.CalendarView]{
		use: "calendars [NAME…]", aliases: []string{"calendar", "cal"}, short: "List the calendars that tasks and groups exclude", complete: c.completeCalendars,
		flags: func(*cobra.Command, *filters) {},
		list: func(ctx context.Context, cl *client.Client, _ *filters, names []string) ([]client.CalendarView, error) {
			if len(names) == 0 {
				return cl.Calendars(ctx)
			}
			return named(names, func(n string) (*client.CalendarView, error) { return cl.Calendar(ctx, n) })
		},
		name: func(v *client.CalendarView) string { return v.Calendar.Name },
		table: func(c *cli, list []client.CalendarView) *table {
			t := &table{head: []string{"CALENDAR", "RANGES", "NEXT", "TASKS", "THROUGH", "SET", "SOURCE", "DESCRIPTION"}, wide: 6}
			for i := range list {
				v := &list[i]
				t.add(v.Calendar.Name, len(v.Calendar.Ranges), nextRange(v, c.Now()), len(v.Tasks), v.Calendar.Through, c.when(v.UpdatedAt),
					v.Calendar.Source, clip(v.Calendar.Description, 60))
			}
			return t
		},
		none: "there are no calendars; write one with: rota calendar set NAME -f FILE",
	}.command(c)
}

// nextRange is the first range that is not over, as far as the text of its date tells.
func nextRange(v *client.CalendarView, now time.Time) string {
	today := now.UTC().Format(time.DateOnly)
	for _, r := range v.Calendar.Ranges {
		_, last, ok := strings.Cut(r, "..")
		if !ok {
			last = r
		}
		if last >= today {
			return r
		}
	}
	return ""
}

func (p *page) calendar(v *client.CalendarView) {
	p.line("Calendar", v.Calendar.Name)
	p.line("Description", v.Calendar.Description)
	p.line("Source", v.Calendar.Source)
	p.line("Through", v.Calendar.Through)
	p.line("Created", p.stamp(v.CreatedAt))
	p.line("Set", p.stamp(v.UpdatedAt))
	if len(v.Tasks) > 0 {
		p.head("Tasks")
		for _, ref := range v.Tasks {
			p.item("%s", ref)
		}
	}
	if len(v.Groups) > 0 {
		p.head("Groups")
		for _, name := range v.Groups {
			p.item("%s", name)
		}
	}
	p.head("Ranges")
	for _, r := range v.Calendar.Ranges {
		p.item("%s", r)
	}
}

// skewText is how far a node's clock is ahead of the leader's.
func skewText(v *client.NodeView) cell {
	if v.Skew == nil {
		return plain("")
	}
	d := time.Duration(*v.Skew * float64(time.Second)).Round(time.Millisecond)
	text := d.String()
	if d > 0 {
		text = "+" + text
	}
	if d.Abs() > time.Second {
		return cell{text, red}
	}
	return plain(text)
}

// completeCalendars completes the names of calendars.
func (c *cli) completeCalendars(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completing(c, cmd, args, (*client.Client).Calendars, func(v *client.CalendarView) string { return v.Calendar.Name })
}
