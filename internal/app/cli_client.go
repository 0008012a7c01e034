package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// dataDir is the data folder: of a server that starts, and where a client looks for the token.
func (c *cli) dataDir() string {
	if c.data != "" {
		return c.data
	}
	if dir, _ := c.Env("ROTA_DATA"); dir != "" {
		return dir
	}
	if home, _ := c.Env("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "rota")
	}
	return defaultData()
}

// client makes the client that a command uses.
func (c *cli) client() (*client.Client, error) {
	server := c.server
	if server == "" {
		server, _ = c.Env("ROTA_SERVER")
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	cl, err := client.New(client.Options{Server: server, Token: token, UserAgent: "rota/" + Version()})
	if err != nil {
		return nil, &usageError{err: err}
	}
	c.clients = append(c.clients, cl)
	return cl, nil
}

// token finds the token: the file that a flag names, the environment, the data folder. There may be none.
func (c *cli) token() (string, error) {
	file := c.tokenFile
	if file == "" {
		if t, _ := c.Env("ROTA_TOKEN"); t != "" {
			return strings.TrimSpace(t), nil
		}
		file = filepath.Join(c.dataDir(), "admin.token")
	}
	b, err := os.ReadFile(file)
	switch {
	case err == nil:
		return strings.TrimSpace(string(b)), nil
	case c.tokenFile == "" && errors.Is(err, fs.ErrNotExist):
		return "", nil
	case errors.Is(err, fs.ErrPermission):
		return "", job.Errorf(job.CodeForbidden, "read the token: %w", err).WithHint("give one with ROTA_TOKEN or --token-file")
	}
	return "", job.Errorf(job.CodeInvalid, "read the token: %w", err)
}

// filters are the flags by which lists are narrowed.
type filters struct {
	group, task, node string
	outcomes          []string
	since, until      string
	search            string
	limit             int
}

func (f *filters) groups(p *pflag.FlagSet) {
	p.StringVarP(&f.group, "group", "g", "", "only of this group")
}

func (f *filters) tasks(p *pflag.FlagSet) {
	p.StringVarP(&f.task, "task", "t", "", "only of this task: NAME or GROUP/NAME")
	p.StringVarP(&f.node, "node", "n", "", "only of this node")
}

func (f *filters) records(p *pflag.FlagSet) {
	p.StringSliceVar(&f.outcomes, "outcome", nil, "only with these outcomes: success, failed, timeout, killed, lost, skipped, missed")
	p.StringVar(&f.search, "search", "", "only with this text in the output, as far as it is kept, or in the reason")
	p.StringVar(&f.since, "since", "", "only what ended since: 2h, 2026-12-01, or RFC 3339")
	p.StringVar(&f.until, "until", "", "only what ended before: 2h, 2026-12-01, or RFC 3339")
}

func (f *filters) limited(p *pflag.FlagSet, standard int, what string) {
	p.IntVar(&f.limit, "limit", standard, "at most so many"+what)
}

// names splits --task GROUP/NAME and checks the names.
func (f *filters) names() error {
	if group, name, ok := strings.Cut(f.task, "/"); ok {
		if f.group != "" && f.group != group {
			return usagef("", "--task %s is not of --group %s", f.task, f.group)
		}
		f.group, f.task = group, name
	}
	for _, n := range [][2]string{{"group", f.group}, {"task", f.task}, {"node", f.node}} {
		if n[1] == "" {
			continue
		}
		if err := job.CheckName(n[0], n[1]); err != nil {
			return &usageError{err: err}
		}
	}
	if f.limit < 0 {
		return usagef("", "--limit %d is negative", f.limit)
	}
	return nil
}

// known explains a list that is empty because the node that was named does not exist.
func (f *filters) known(ctx context.Context, cl *client.Client) error {
	if f.node == "" {
		return nil
	}
	_, err := cl.Node(ctx, job.NodeID(f.node))
	return err
}

// jobs is the filter of jobs and processes.
func (f *filters) jobs() (client.JobFilter, error) {
	err := f.names()
	return client.JobFilter{Group: f.group, Task: f.task, Node: job.NodeID(f.node)}, err
}

// recordFilter is the filter of records.
func (f *filters) recordFilter(now time.Time) (job.RecordFilter, error) {
	err := f.names()
	out := job.RecordFilter{Group: f.group, Task: f.task, Node: job.NodeID(f.node), Search: f.search}
	for _, o := range f.outcomes {
		if !job.Outcome(o).Valid() {
			return out, usagef(didYouMean(o, job.Outcomes), "--outcome %s is not known", o)
		}
		out.Outcome = append(out.Outcome, job.Outcome(o))
	}
	if err == nil {
		out.Since, err = parseTime("since", f.since, now)
	}
	if err == nil {
		out.Until, err = parseTime("until", f.until, now)
	}
	return out, err
}

// didYouMean is advice for a word that is none of those known.
func didYouMean[S ~string](word string, known []S) string {
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	if near := job.Near(word, words); near != "" {
		return "did you mean " + near + "?"
	}
	return "there are " + strings.Join(words, ", ")
}

// parseTime reads a time in one of the forms in which people give it; durations are before now. Dates and times
// without an offset are local.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if d, err := job.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d.Std()), nil
	}
	return time.Time{}, usagef("write a duration such as 2h, a date such as 2026-12-01, or a time such as 2026-12-01T10:00:00Z", "--%s %q is not a time", flag, s)
}

func parseRef(s string) (job.TaskRef, error) {
	ref, err := job.ParseRef(s)
	if err != nil {
		return ref, &usageError{err: err}
	}
	return ref, nil
}

func parseNode(s string) (job.NodeID, error) {
	if err := job.CheckName("node", s); err != nil {
		return "", &usageError{err: err}
	}
	return job.NodeID(s), nil
}

// runIDs are what a server makes as names of runs.
var runIDs = regexp.MustCompile(`^[0-9a-z]{24}$`)

// runName is what a person calls a run: TASK for the latest, TASK#N, or its id. One of ref and id is set.
type runName struct {
	ref    job.TaskRef
	number int64 // 0: the latest
	id     job.RunID
}

func parseRunName(s string) (runName, error) {
	if runIDs.MatchString(s) {
		return runName{id: job.RunID(s)}, nil
	}
	name, number, numbered := strings.Cut(s, "#")
	ref, err := parseRef(name)
	if err != nil || !numbered {
		return runName{ref: ref}, err
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		return runName{}, usagef("write it as backup#142", "%q is not the number of a run", number)
	}
	return runName{ref: ref, number: n}, nil
}

// running lists the runs of a task that are alive.
func running(ctx context.Context, cl *client.Client, ref job.TaskRef) ([]*job.Process, error) {
	return cl.Processes(ctx, client.JobFilter{Group: ref.Group, Task: ref.Name})
}

// latest is the newest record of a task with one of the outcomes, with its output.
func latest(ctx context.Context, cl *client.Client, ref job.TaskRef, outcomes ...job.Outcome) (*job.ExecutionRecord, error) {
	page, err := cl.Records(ctx, job.RecordFilter{Group: ref.Group, Task: ref.Name, Outcome: outcomes, Limit: 1, WithOutput: true})
	if err != nil {
		return nil, err
	}
	if len(page.Records) > 0 {
		return &page.Records[0], nil
	}
	if _, err := cl.Task(ctx, ref); err != nil {
		return nil, err // there is no such task, which explains it better
	}
	return nil, job.Errorf(job.CodeNotFound, "task %s has no such run", ref).WithHint("run it now: rota run %s", ref)
}
