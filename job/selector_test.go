package job_test

import (
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"
)

func TestSelector(t *testing.T) {
	t.Parallel()
	n := &job.Node{
		ID: "db1", Labels: map[string]string{"role": "db", "rack": "7", "Both": "label"},
		Conditions: map[string]string{"DiskPressure": "False", "Both": "condition"},
	}
	for _, c := range []struct {
		text, canonical string
		want            bool
	}{
		{"", "", true},
		{"  ", "", true},
		{"role in (db,cache), !edge, DiskPressure!=True", "role in (cache,db), !edge, DiskPressure!=True", true},
		{"role=db", "role=db", true},
		{"role==db", "role=db", true},
		{" role  =  web ", "role=web", false},
		{"role in (db)", "role=db", true},
		{"role in ( web , cache , web )", "role in (cache,web)", false},
		{"role notin (web,cache)", "role notin (cache,web)", true},
		{"edge notin (yes)", "edge!=yes", true}, // a node without the key
		{"edge!=yes", "edge!=yes", true},
		{"edge=yes", "edge=yes", false},
		{"edge", "edge", false},
		{"! edge", "!edge", true},
		{"role,rack", "role, rack", true},
		{"!role", "!role", false},
		{"DiskPressure=False", "DiskPressure=False", true},
		{"DiskPressure", "DiskPressure", true},
		{"Both=label", "Both=label", true},
		{"in in (in)", "in=in", false},
	} {
		s, err := job.ParseSelector(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if s.String() != c.canonical || s.Matches(n) != c.want || (s.Unmet(n) == "") != c.want {
			t.Errorf("%q is %q, matches %t, unmet %q", c.text, s, s.Matches(n), s.Unmet(n))
		}
	}
}

// An error says at which column, and how to mend it.
func TestSelectorFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"role db":                 "column 6",
		"role=":                   "column 6",
		"role=,a":                 "column 6",
		"role in db":              "column 9",
		"role in (db":             "column 12",
		"role in ()":              "column 10",
		"a, , b":                  "column 4",
		"a,":                      "column 3",
		"a=b c":                   "column 5",
		"ä=b, ö in x":             "column",
		"!a=b":                    "column 3",
		strings.Repeat("a,", 100): "more than 64",
		strings.Repeat("a", 5000): "5000 bytes",
	} {
		_, err := job.ParseSelector(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// What is printed reads as the same.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"role in (db,cache), !edge, a!=b", "a notin (x)", "a=b,c", "!", "(", "a in (b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := job.ParseSelector(text)
		if err != nil {
			return
		}
		again, err := job.ParseSelector(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%q is printed as %q, which is read as %q, %v", text, s, again, err)
		}
	})
}

func TestNamesNode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names string
		id    job.NodeID
		want  bool
	}{
		{"", "a", true}, {"a b", "b", true}, {"a b", "c", false}, {"!a", "a", false}, {"!a", "b", true},
		{"db* !db3", "db1", true}, {"db* !db3", "db3", false}, {"db* !db3", "web", false}, {"!db* db3", "db3", false}, {"db[12]", "db2", true},
	} {
		var names []job.NodeID
		for s := range strings.FieldsSeq(c.names) {
			names = append(names, job.NodeID(s))
		}
		if job.NamesNode(names, c.id) != c.want {
			t.Errorf("%s of %s: want %t", c.id, c.names, c.want)
		}
	}
}

func TestWhereFaults(t *testing.T) {
	t.Parallel()
	task := job.Task{Name: "a", Command: job.Line("true"), Where: "role db", MaxNodes: -1, Spread: "even", Nodes: []job.NodeID{"db[", "!a b"}}
	task.Complete()
	err := task.Valid()
	for _, want := range []string{"where: column 6", "max_nodes", `spread: "even"`, "nodes[0]", "nodes[1]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
	task = job.Task{Name: "a", Command: job.Line("true"), Where: " role == db ,!edge", MaxNodes: 2, Spread: "load", Nodes: []job.NodeID{"db*", "!db3"}}
	if task.Complete(); task.Valid() != nil || task.Where != "role=db, !edge" {
		t.Errorf("%q: %v", task.Where, task.Valid())
	}
}
