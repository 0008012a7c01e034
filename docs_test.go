package rota_test

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rota-dev/rota/job"

	"go/parser"
	"go/token"
)

// Every test that a document names as a proof exists.
func TestProofsExist(t *testing.T) {
	named := regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+|Benchmark[A-Za-z0-9_]+)`")
	for _, doc := range []string{"docs/from-rainbond.md", "docs/guarantees.md", "docs/runs.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		found := named.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s names no test", doc)
		}
		for _, m := range found {
			if !tests(t, m[1])[m[2]] {
				t.Errorf("%s names %s.%s, which does not exist", doc, m[1], m[2])
			}
		}
	}
}

// tests are the names of the test functions of a package.
func tests(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

// Links from one document to another lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("docs/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range append(append(docs, more...), "README.md", "CHANGELOG.md", "examples/README.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, m[1])
			}
		}
	}
}

// Each task file in the documents for operators is one that is accepted as it stands.
func TestTaskFilesInDocs(t *testing.T) {
	t.Parallel()
	found := 0
	for _, doc := range []string{"docs/runs.md", "docs/node.md", "docs/tasks.md", "docs/notifications.md", "docs/workflows.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?s)```yaml\n((?:tasks|templates|groups|receivers|monitors):.*?)```").FindAllSubmatch(text, -1) {
			found++
			if _, err := job.ReadDocuments(doc, m[1]); err != nil {
				t.Errorf("%v\n%s", err, m[1])
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d were found", found)
	}
}
