package rota_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/rota-dev/rota/job"
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

// documents are the pages that people read, by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := []string{"README.md", "CHANGELOG.md", "examples/README.md"}
	for _, pattern := range []string{"docs/*.md", "docs/decisions/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		pages = append(pages, found...)
	}
	texts := map[string]string{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.ToSlash(page)] = string(text)
	}
	return texts
}

// anchors are the names by which the headings of a page can be linked to.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#{1,6} (.+)$`).FindAllStringSubmatch(text, -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		for name, n := slug, 1; ; name, n = fmt.Sprintf("%s-%d", slug, n), n+1 {
			if !names[name] {
				names[name] = true
				break
			}
		}
	}
	return names
}

// Links from one document to another, and to a heading in one, lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	pages := documents(t)
	for page, text := range pages {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := page
			if m[1] != "" {
				target = path.Join(path.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			if to, ok := pages[target]; m[2] != "" && ok && !anchors(to)[m[2]] {
				t.Errorf("%s links to %s#%s, and there is no such heading", page, m[1], m[2])
			}
		}
	}
}

// Each task file in the documents is one that is accepted as it stands. All that is YAML there is one, but for the policy of a node, which
// internal/policy tests.
func TestTaskFilesInDocs(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```")
	found := map[string]int{}
	for page, text := range documents(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			if page == "docs/node.md" && strings.HasPrefix(m[1], "users:") {
				continue
			}
			found[page]++
			docs, err := job.ReadDocuments(page, []byte(m[1]))
			if err != nil {
				t.Errorf("%v\n%s", err, m[1])
			} else if docs.Len() == 0 {
				t.Errorf("%s: there is nothing in\n%s", page, m[1])
			}
		}
	}
	for _, page := range []string{
		"README.md", "docs/runs.md", "docs/tasks.md", "docs/task-reference.md", "docs/timers.md", "docs/notifications.md", "docs/workflows.md", "docs/embedding.md",
	} {
		if found[page] == 0 {
			t.Errorf("no task file was found in %s", page)
		}
	}
}
