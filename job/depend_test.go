package job_test

import (
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

// What a dependency says is understood, or refused where it stands: an unknown word would wait for ever, or for nothing. ancestor 26
func TestDependenciesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{task: b, strategy: samenode}": `depends[0].strategy: "samenode"`,
		"{task: b, strategy: SameNode}": `depends[0].strategy: "SameNode"`,
		"{task: b, strategy: all}":      `depends[0].strategy: "all"`,
		"{strategy: same-node}":         "depends[0].task: it names no task",
		"{task: ../b}":                  "depends[0].task:",
		"{task: a}":                     "task default/a depends on itself",
		"{task: b, within: -1h}":        "depends[0].within:",
		"{task: b, strategy: same-node}, {task: b, strategy: same-node}":   "depends[1]: ",
		"{task: b, strategie: same-node}":                                  `unknown field "strategie"`,
		"{task: b}, {task: c, strategy: at-least-once}, {task: d, when: }": `unknown field "when"`,
	} {
		_, err := job.ReadTasks("t.yaml", []byte("tasks: [{name: a, command: x, depends: ["+text+"]}]"))
		if job.CodeOf(err) != job.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"{task: b}", "{task: g/b, strategy: same-node, within: 2h}", "{task: b, strategy: same-node}, {task: b, strategy: at-least-once}"} {
		if _, err := job.ReadTasks("t.yaml", []byte("tasks: [{name: a, command: x, depends: ["+text+"]}]")); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
