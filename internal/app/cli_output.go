package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/rota-dev/rota/job"
)

// format is the flag -o.
type format string

const (
	asTable format = "table"
	asWide  format = "wide"
	asJSON  format = "json"
	asYAML  format = "yaml"
	asName  format = "name"
)

// String, Set and Type make it a flag.
func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }
func (f *format) Set(s string) error {
	known := []format{asTable, asWide, asJSON, asYAML, asName}
	if !slices.Contains(known, format(s)) {
		return fmt.Errorf("%s", didYouMean(s, known))
	}
	*f = format(s)
	return nil
}

// output gives a command the flag -o.
func output(cmd *cobra.Command) *format {
	f := asTable
	cmd.Flags().VarP(&f, "output", "o", "table, wide, json, yaml or name")
	completed(cmd, "output", cobra.FixedCompletions([]string{"table", "wide", "json", "yaml", "name"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// encode writes v for programs, and tells whether the format was one of theirs.
func (c *cli) encode(f format, v any) (bool, error) {
	switch f {
	case asJSON:
		enc := json.NewEncoder(c.Out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return true, enc.Encode(v)
	case asYAML:
		text, err := toYAML(v)
		if err == nil {
			_, err = c.Out.Write(text)
		}
		return true, err
	}
	return false, nil
}

// toYAML writes v as YAML with the names and the order that it has in JSON.
func toYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	block(&doc)
	return yaml.Marshal(&doc)
}

// block takes the brackets and quotes of JSON from a document.
func block(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && strings.Contains(n.Value, "\n") {
		n.Style = yaml.LiteralStyle
	}
	for _, child := range n.Content {
		block(child)
	}
}

// table is what people read.
type table struct {
	head []string
	rows [][]cell
	wide int // the columns from this one on are shown only when asked for; 0: there are none
}

// cell is a text, in a colour.
type cell struct{ text, colour string }

// The colours of a terminal.
const (
	red, green, yellow, grey = "31", "32", "33", "90"
)

func plain(s string) cell { return cell{text: s} }

func (t *table) add(cells ...any) {
	row := make([]cell, len(cells))
	for i, v := range cells {
		switch v := v.(type) {
		case cell:
			row[i] = v
		case string:
			row[i] = plain(v)
		default:
			row[i] = plain(fmt.Sprint(v))
		}
	}
	t.rows = append(t.rows, row)
}

// print writes the table in aligned columns; what is empty is a dash, so that columns can be counted.
func (c *cli) print(t *table, f format) error {
	n := len(t.head)
	if t.wide > 0 && f != asWide {
		n = t.wide
	}
	width := make([]int, n)
	head := make([]cell, n)
	for i := range n {
		head[i] = cell{t.head[i], grey}
		width[i] = utf8.RuneCountInString(t.head[i])
	}
	for _, row := range t.rows {
		for i := range row[:n] {
			row[i].text = oneLine(row[i].text)
			width[i] = max(width[i], utf8.RuneCountInString(row[i].text))
		}
	}
	var b strings.Builder
	colour := c.colour()
	for _, row := range append([][]cell{head}, t.rows...) {
		for i, v := range row[:n] {
			if colour && v.colour != "" {
				fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", v.colour, v.text)
			} else {
				b.WriteString(v.text)
			}
			if i < n-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(v.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := c.Out.Write([]byte(b.String()))
	return err
}

// oneLine is a text without what would break a table, or a terminal.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

func outcomeCell(o job.Outcome) cell {
	switch o {
	case job.Success:
		return cell{string(o), green}
	case job.Skipped:
		return cell{string(o), grey}
	case job.Missed, job.Lost:
		return cell{string(o), yellow}
	}
	return cell{string(o), red}
}

// when shows a time: to a person how far away it is, elsewhere as it is, with its offset.
func (c *cli) when(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case !terminal(c.Out):
		return t.Local().Format(time.RFC3339)
	case t.After(c.Now()):
		return "in " + short(t.Sub(c.Now()))
	}
	return short(c.Now().Sub(t)) + " ago"
}

// short is a duration in the one or two units that matter.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + short(-d)
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return two(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	}
	return two(d, 24*time.Hour, "d", time.Hour, "h")
}

func two(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d%s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		s += fmt.Sprintf("%d%s", rest, smallName)
	}
	return s
}

// recordName is what people call a run.
func recordName(r *job.ExecutionRecord) string {
	if r.Number == 0 {
		return r.ID
	}
	return fmt.Sprintf("%s#%d", r.Ref(), r.Number)
}
