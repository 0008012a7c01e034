package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

func (c *cli) diffCommand() *cobra.Command {
	var f fileFlags
	cmd := &cobra.Command{
		Use: "diff -f FILE", Short: "Show what apply would change",
		Long: "Show what apply would change: the fields of tasks and of what they use, the next firings before and after, and where a\n" +
			"task would run.\n\n" +
			"The exit code is 0 where nothing would change, 1 where something would, and 2 or more for an error.",
		Args: arguments(0, 0, ""),
	}
	f.file(cmd)
	f.pruning(cmd)
	out := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		applied, err := c.apply(cmd, &f, true)
		if err != nil {
			return c.notOne(cmd, err)
		}
		calendars, err := c.calendarChanges(cmd.Context(), &f)
		if err != nil {
			return c.notOne(cmd, err)
		}
		applied = append(calendars, applied...)
		changed := slices.DeleteFunc(slices.Clone(applied), func(a client.Applied) bool { return a.Change == client.Unchanged })
		done, err := c.encode(*out, changed)
		if err != nil {
			return c.notOne(cmd, err)
		}
		if !done {
			for i := range changed {
				if *out == asName {
					fmt.Fprintln(c.Out, strings.TrimPrefix(changed[i].What(), "task "))
				} else if err := c.showChange(&changed[i]); err != nil {
					return c.notOne(cmd, err)
				}
			}
		}
		if len(changed) > 0 {
			return &exitError{exitFailed}
		}
		return nil
	}
	return cmd
}

// notOne tells an error whose exit code must not be 1, which means changes.
func (c *cli) notOne(cmd *cobra.Command, err error) error {
	return &exitError{max(c.exit(cmd.Context(), err), exitUsage)}
}

// calendarChanges are what becomes of the calendars among the files.
func (c *cli) calendarChanges(ctx context.Context, f *fileFlags) (list []client.Applied, err error) {
	for _, v := range f.set {
		a := client.Applied{Kind: "calendar", Name: v.Calendar.Name, Change: v.Change, Nodes: []job.NodeID{}}
		if a.NewDocument, err = json.Marshal(&v.Calendar); err != nil {
			return nil, err
		}
		if v.Change == client.Configured {
			cl, err := c.client()
			if err != nil {
				return nil, err
			}
			old, err := cl.Calendar(ctx, v.Calendar.Name)
			if err != nil {
				return nil, err
			}
			if a.OldDocument, err = json.Marshal(&old.Calendar); err != nil {
				return nil, err
			}
		}
		list = append(list, a)
	}
	return list, nil
}

// sides are what a change takes away and what it brings, nil where there is nothing, and the time zones in which they fire.
func sides(a *client.Applied) (before, after any, was, is *time.Location) {
	if a.Old != nil {
		before = a.Old
	}
	if a.New != nil {
		after = a.New
	}
	if a.Kind == "" {
		return before, after, zone(a.Old), zone(a.New)
	}
	if a.OldDocument != nil {
		before = a.OldDocument
	}
	if a.NewDocument != nil {
		after = a.NewDocument
	}
	return before, after, nil, nil // the server's times have the offsets of their zones
}

// showChange shows the change of one task, or of one other document.
func (c *cli) showChange(a *client.Applied) error {
	old, young, was, is := sides(a)
	lines, err := changes(old, young)
	if err != nil {
		return err
	}
	before := strings.TrimPrefix(a.What(), "task ")
	after := before
	if old == nil {
		before = "(not there)"
	}
	if young == nil {
		after = "(deleted)"
	}
	lines = append([]string{"--- " + before, "+++ " + after}, lines...)
	if young != nil && !slices.EqualFunc(a.NextBefore, a.NextAfter, time.Time.Equal) {
		lines = append(lines, firingLines("-", a.NextBefore, was)...)
		lines = append(lines, firingLines("+", a.NextAfter, is)...)
	}
	if a.New != nil {
		where := "no node matches"
		if len(a.Nodes) > 0 {
			names := make([]string, len(a.Nodes))
			for i, n := range a.Nodes {
				names[i] = string(n)
			}
			where = strings.Join(names, ", ")
		}
		lines = append(lines, " # runs on: "+where)
		for _, w := range a.Warnings {
			if w != where {
				lines = append(lines, " # "+w)
			}
		}
	}
	colour := c.colour()
	for _, l := range lines {
		if colour && strings.HasPrefix(l, "-") {
			l = "\x1b[" + red + "m" + l + "\x1b[0m"
		} else if colour && strings.HasPrefix(l, "+") {
			l = "\x1b[" + green + "m" + l + "\x1b[0m"
		}
		if _, err := fmt.Fprintln(c.Out, l); err != nil {
			return err
		}
	}
	return nil
}

// firingLines are times in a time zone; nil: each in its own.
func firingLines(sign string, next []time.Time, loc *time.Location) []string {
	var lines []string
	for _, n := range next {
		if loc != nil {
			n = n.In(loc)
		}
		lines = append(lines, sign+"# next: "+n.Format("Mon "+time.RFC3339))
	}
	return lines
}

// changes are the lines of the fields in which two documents differ; either may be nil.
func changes(before, after any) ([]string, error) {
	was, names, err := fields(before)
	if err != nil {
		return nil, err
	}
	is, more, err := fields(after)
	if err != nil {
		return nil, err
	}
	for _, n := range more {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	var lines []string
	for _, n := range names {
		if was[n] == is[n] {
			continue
		}
		lines = append(lines, signed("-", was[n])...)
		lines = append(lines, signed("+", is[n])...)
	}
	return lines, nil
}

func signed(sign, text string) []string {
	var lines []string
	for l := range strings.Lines(text) {
		lines = append(lines, sign+strings.TrimRight(l, "\n"))
	}
	return lines
}

// fields are the fields of a document as YAML, and their names in order.
func fields(t any) (map[string]string, []string, error) {
	text := map[string]string{}
	if t == nil {
		return text, nil, nil
	}
	b, err := toYAML(t)
	if err != nil {
		return nil, nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, nil, err
	}
	var names []string
	root := doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		pair := &yaml.Node{Kind: yaml.MappingNode, Content: root.Content[i : i+2]}
		b, err := yaml.Marshal(pair)
		if err != nil {
			return nil, nil, err
		}
		names = append(names, root.Content[i].Value)
		text[root.Content[i].Value] = string(b)
	}
	return text, names, nil
}
