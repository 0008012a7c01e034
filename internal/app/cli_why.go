package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) whyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "why TASK [TIME]", Short: "Tell why a task did, or did not, run",
		Long: "Tell what was due at a time, or last before it, where, what became of it, and why.\n\n" +
			"TIME is RFC 3339, or in the task's zone '2026-11-22 02:30', or 02:30 for the latest one, now, or a duration ago such as 2h.",
		Example: "  rota why nightly-backup\n  rota why nightly-backup 02:30\n  rota why shop/mail '2026-11-22 02:30' -o json",
		Args:    arguments(1, -1, "a task"), ValidArgsFunction: c.completeTasks,
	}
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := parseRef(args[0])
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		var at time.Time
		if text := strings.Join(args[1:], " "); text != "" {
			v, err := cl.Task(cmd.Context(), ref)
			if err != nil {
				return err
			}
			if at, err = parseMoment("TIME", text, c.Now(), zone(&v.Task)); err != nil {
				return err
			}
		}
		w, err := cl.Why(cmd.Context(), ref, at)
		if err != nil {
			return err
		}
		if done, err := c.encode(*out, w); done {
			return err
		}
		for _, line := range c.explain(w, at.IsZero()) {
			fmt.Fprintln(c.Out, oneLine(line))
		}
		return nil
	}
	return cmd
}

// explain is an answer in sentences, a line each.
func (c *cli) explain(w *client.Why, now bool) []string {
	loc := zone(&job.Task{Timezone: w.Timezone})
	stamp := func(t time.Time) string { return t.In(loc).Format("Mon " + time.RFC3339) }
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch {
	case w.Instant.IsZero():
		say("Nothing of %s was due until %s.", w.Task, stamp(w.At))
	case w.Exact:
		say("%s was due at %s.", w.Task, stamp(w.Instant))
	case now:
		say("%s was due last at %s.", w.Task, stamp(w.Instant))
	default:
		say("Nothing of %s was due at %s; last before that it was due at %s.", w.Task, stamp(w.At), stamp(w.Instant))
	}
	for _, a := range w.Answers {
		say("%s", c.answer(&a, stamp))
	}
	for _, r := range w.Backfilled {
		say("It ran once more, backfilled: %s", outcomeLine(&r))
	}
	for _, n := range w.Notes {
		say("%s", n)
	}
	if len(w.Candidates) > 0 {
		var words []string
		for _, k := range w.Candidates {
			word := string(k.Node)
			if !k.Online {
				word += " (offline)"
			}
			words = append(words, word)
		}
		say("Its nodes, in the order in which they try this instant: %s.", strings.Join(words, ", "))
	}
	if bound(w) == 0 {
		for _, p := range w.Elsewhere {
			say("Not on %s: %s.", p.Node, p.Reason)
		}
		if len(w.Elsewhere) == 0 && len(w.Answers) > 0 && w.Answers[0].Code == client.WhyNoNode {
			say("There are no nodes; start one with: rota node")
		}
	}
	if !w.Next.IsZero() {
		say("Next it is due at %s.", stamp(w.Next))
	}
	return lines
}

// bound is on how many nodes the task is, as far as an answer tells.
func bound(w *client.Why) int {
	n := len(w.Candidates)
	for _, a := range w.Answers {
		if a.Node != "" {
			n++
		}
	}
	return n
}

// answer is what became of an instant, in a sentence.
func (c *cli) answer(a *client.WhyAnswer, stamp func(time.Time) string) string {
	where := ""
	if a.Node != "" {
		where = "On " + string(a.Node) + ": "
	}
	if r := a.Record; r != nil && a.Code != client.WhyRecordInTransit {
		s := where + string(r.Outcome)
		if r.Outcome.Ran() {
			s += fmt.Sprintf(" in %s, begun %s", short(r.Duration()), stamp(r.BeginTime))
			if r.Attempt > 1 {
				s += fmt.Sprintf(", attempt %d", r.Attempt)
			}
		}
		if r.Trigger == job.TriggerCatchup {
			s += ", caught up"
		}
		if r.Count > 1 {
			s += fmt.Sprintf(", one of %d from %s to %s", r.Count, stamp(r.Instant), stamp(r.Until))
		}
		if r.Reason != "" {
			s += ": " + r.Reason
		}
		s += " (" + recordName(r) + ")"
		for _, at := range r.Attempts {
			s += fmt.Sprintf("; attempt %d %s", at.Attempt, at.Outcome)
			if at.Reason != "" {
				s += ": " + at.Reason
			}
		}
		return s + "."
	}
	s := where + a.State
	if !a.Since.IsZero() {
		s += " since " + stamp(a.Since)
	}
	if a.Reason != "" {
		s += ": " + a.Reason
	}
	if !a.Until.IsZero() {
		s += "; until " + stamp(a.Until) + " at the latest"
	}
	return s + "."
}
