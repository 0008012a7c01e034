// Package rota_test holds the rules of the whole: who may import whom, and what the pure packages may not do.
package rota_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rota-dev/rota/"

// mayImport says, for each package, which others of this module it may import. Arrows point down: the order of the rows
// is that of docs/architecture.md, from the top.
var mayImport = map[string][]string{
	".":                       {"internal/app", "internal/guard", "internal/ways", "client", "job"},
	"examples/embed":          {"client", "job"},
	"cmd/rota":                {"internal/app"},
	"internal/app":            {"internal/notify", "internal/guard", "internal/runlog", "internal/api", "internal/master", "internal/node", "internal/policy", "internal/runner", "internal/ways", "internal/secrets", "internal/history", "client", "store", "schedule", "job"},
	"internal/api":            {"internal/master", "client", "store", "schedule", "job"},
	"internal/notify":         {"internal/ways", "internal/secrets", "job"},
	"internal/master":         {"internal/engine", "internal/notify", "client", "store", "schedule", "job"},
	"internal/node":           {"internal/runlog", "store", "schedule", "job"},
	"internal/engine":         {"schedule", "job"},
	"internal/guard":          {"internal/runlog", "internal/runner", "job"},
	"internal/runner":         {"internal/cgroup", "internal/runlog", "job"},
	"internal/cgroup":         {"job"},
	"internal/runlog":         {"job"},
	"internal/policy":         {"job"},
	"internal/ways":           {"internal/runlog", "internal/secrets", "job"},
	"internal/secrets":        {"job"},
	"internal/history":        {"job"},
	"client":                  {"job"},
	"store":                   {"job"},
	"job":                     {"schedule"},
	"schedule":                {},
	"internal/api/apitest":    {"internal/master", "internal/api", "client", "store", "schedule", "job"},
	"internal/history/pgtest": {"test/port"},
}

// onlyIn says which packages may import a module of others.
var onlyIn = map[string][]string{
	"go.etcd.io/etcd/":              {"store"},
	"modernc.org/sqlite":            {"internal/history"},
	"github.com/jackc/pgx":          {"internal/history", "internal/history/pgtest"},
	"github.com/spf13/cobra":        {"internal/app"},
	"github.com/danielgtaylor/huma": {"internal/api"},
	"github.com/wneessen/go-mail":   {"internal/notify"},
	"database/sql":                  {"internal/history", "internal/history/pgtest"},
	// ancestor 60: a script was downloaded and run. Who can't start a program runs none.
	"os/exec": {"internal/runner", "internal/app", "internal/history/pgtest"},
}

// pure lists packages, and files of others, that get time as data and do no input or output.
var pure = []string{"internal/engine/", "schedule/", "internal/node/clock.go", "internal/node/policy.go"}

var impureCalls = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
	"rand": {"Int", "IntN", "Float64", "N"},
}

var impureImports = []string{"net", "net/http", "os/exec", "context", "sync", "database/sql", "log/slog"}

type source struct {
	path string // from the root, with slashes
	file *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		list = append(list, source{filepath.ToSlash(p), f})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("only %d files were found: the test looks in the wrong place", len(list))
	}
	return list
}

func imports(f *ast.File) []string {
	var list []string
	for _, i := range f.Imports {
		list = append(list, strings.Trim(i.Path.Value, `"`))
	}
	return list
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		pkg := path.Dir(s.path)
		allowed, known := mayImport[pkg]
		if !known && !strings.HasPrefix(pkg, "test/") {
			t.Errorf("%s is a package that docs/architecture.md and this test do not know", pkg)
			continue
		}
		seen[pkg] = true
		for _, i := range imports(s.file) {
			if own, ok := strings.CutPrefix(i, module); ok && known && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s, which is not below it", s.path, own)
			}
			for prefix, in := range onlyIn {
				if strings.HasPrefix(i, prefix) && !slices.Contains(in, pkg) && !strings.HasPrefix(pkg, "test/") {
					t.Errorf("%s imports %s, which is for %v alone", s.path, i, in)
				}
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(mayImport)) {
		if !seen[pkg] {
			t.Errorf("there is a rule for %s, but no such package", pkg)
		}
	}
}

func TestPurePackages(t *testing.T) {
	looked := 0
	for _, s := range sources(t) {
		if !slices.ContainsFunc(pure, func(p string) bool { return strings.HasPrefix(s.path, p) }) {
			continue
		}
		looked++
		for _, i := range imports(s.file) {
			if slices.Contains(impureImports, i) && !(strings.HasPrefix(s.path, "schedule/") && i == "sync") {
				t.Errorf("%s imports %s", s.path, i)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains(impureCalls[pkg.Name], sel.Sel.Name) {
					t.Errorf("%s calls %s.%s: time is data here", s.path, pkg.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
	if looked < 8 {
		t.Errorf("only %d files are pure: the list is out of date", looked)
	}
}

// Only the main function may end the process, and GuardMain, which stands for one; and nobody has state in a package.
func TestExitsAndInits(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", s.path)
			}
		}
		if strings.HasPrefix(s.path, "cmd/") || strings.HasPrefix(s.path, "examples/") || strings.HasPrefix(s.path, "test/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && s.path == "rota.go" && f.Name.Name == "GuardMain" {
				return false
			}
			if sel, ok := n.(*ast.SelectorExpr); ok {
				pkg, ok := sel.X.(*ast.Ident)
				if ok && pkg.Name == "os" && sel.Sel.Name == "Exit" || ok && pkg.Name == "log" && strings.HasPrefix(sel.Sel.Name, "Fatal") {
					t.Errorf("%s calls %s.%s", s.path, pkg.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}
