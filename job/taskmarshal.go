package job

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// MarshalTasks writes tasks as a task file in YAML, in the order of the fields. Defaults are left out;
// [ReadTasks] gives back tasks that are equal to the complete ones.
func MarshalTasks(tasks []Task) ([]byte, error) {
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for i := range tasks {
		t := tasks[i]
		t.omitDefaults()
		n, err := t.node()
		if err != nil {
			return nil, err
		}
		list.Content = append(list.Content, n)
	}
	if len(tasks) == 0 {
		list.Style = yaml.FlowStyle
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Tag: "!!str", Value: "tasks"}, list,
	}}
	return dump(root)
}

// MarshalTask writes one task alone, with all that it says, as [MarshalTasks] writes it in a list.
func MarshalTask(t *Task) ([]byte, error) {
	n, err := t.node()
	if err != nil {
		return nil, err
	}
	return dump(n)
}

// MarshalDocument writes what is no task, such as a template, alone, with all that it says. [ReadDocument] gives back what says the same.
func MarshalDocument(doc any) ([]byte, error) {
	n, err := node(doc)
	if err != nil {
		return nil, err
	}
	return dump(n)
}

func dump(n *yaml.Node) ([]byte, error) {
	return yaml.Dump(n, yaml.WithLineWidth(-1), yaml.WithCompactSeqIndent(false))
}

// node is the task as a tree, which looks as a person would write it.
func (t *Task) node() (*yaml.Node, error) {
	n, err := node(t)
	if err != nil {
		return nil, Errorf(CodeOf(err), "write task %s: %w", t.Ref(), err)
	}
	return n, nil
}

func node(doc any) (*yaml.Node, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, Errorf(CodeInvalid, "write a document: %w", err)
	}
	n, fault := parseJSON(data)
	if fault != nil {
		return nil, Errorf(CodeInternal, "write a document: %s", fault.Message)
	}
	readable(n)
	return n, nil
}

// omitDefaults is the contrary of Complete.
func (t *Task) omitDefaults() {
	if t.Group == DefaultJobGroup {
		t.Group = ""
	}
	if (t.Timer != "" && t.Mode == Cycle) || (t.Timer == "" && t.Mode == ManyOnce) {
		t.Mode = ""
	}
	if t.Kind == KindCommon.Name() {
		t.Kind = ""
	}
	if t.Concurrency == 1 {
		t.Concurrency = 0
	}
	if t.Overlap == OverlapSkip {
		t.Overlap = ""
	}
	if t.Catchup == CatchupNone {
		t.Catchup = ""
	}
	if t.OnLost == LostRecord {
		t.OnLost = ""
	}
	t.Depends = slices.Clone(t.Depends)
	for i := range t.Depends {
		if t.Depends[i].Strategy == AtLeastOnce {
			t.Depends[i].Strategy = ""
		}
	}
}

// readable chooses how the nodes look: texts as blocks where they have several lines, short lists in one line.
func readable(n *yaml.Node) {
	n.Style = 0
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!str" && isBlock(n.Value) {
			n.Style = yaml.LiteralStyle
		} else if n.Tag == "!!str" && !isPlain(n.Value) {
			n.Style = yaml.DoubleQuotedStyle
		}
	case yaml.SequenceNode:
		n.Style = yaml.FlowStyle
	}
	const width = 80
	size := 0
	for _, c := range n.Content {
		readable(c)
		size += len(c.Value) + 4
		if c.Kind != yaml.ScalarNode || c.Style == yaml.LiteralStyle || size > width {
			n.Style = 0
		}
	}
}

// isBlock tells whether a text can stand as a block after "|" and come back as it was.
func isBlock(s string) bool {
	if !strings.Contains(strings.TrimSuffix(s, "\n"), "\n") || strings.HasPrefix(s, "\n") || strings.HasSuffix(s, "\n\n") {
		return false
	}
	for line := range strings.Lines(s) {
		if text := strings.TrimSuffix(line, "\n"); text != strings.TrimRight(text, " \t") || strings.HasPrefix(text, "\t") {
			return false
		}
	}
	if strings.HasPrefix(s, " ") {
		return false
	}
	return printable(strings.ReplaceAll(strings.ReplaceAll(s, "\n", ""), "\t", ""))
}

// isPlain tells whether YAML itself may choose how a text is quoted.
func isPlain(s string) bool { return s != "" && printable(s) }

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar || r == '\ufeff' {
			return false
		}
	}
	return true
}
