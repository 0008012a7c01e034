package job_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"

	"github.com/rota-dev/rota/job"
)

// hostile are values that a shell would make something else of, if they were not quoted.
var hostile = []string{
	"", " ", "x", "a b", "'", "''", `"`, `\`, `\\`, `\'`, `'\''`, "$HOME", "${HOME}", "$(echo no)", "`echo no`", "; echo no", "& echo no", "| cat", "> /dev/null", "<<E",
	"*", "?", "[a]", "~", "~root", "{a,b}", "!x", "#x", "-n", "--", "a\nb", "\n", "a\n", "\n\n", "\t", "\r\n", "é😀", "\x01\x7f\x1b[0m", "\xff\xfe", "a=b", "if", "%s", "$'\\n'",
	"ROTAVALUE", "{{ config.A }}", "'; echo no; '", `"; echo no; "`, "')", "\\\n", "a'b\"c`d$e\\f",
}

// Lines with the value V as one word after printf '%s'.
var shellLines = []struct{ line, before, after string }{
	{`printf %s {{ config.V }}`, "", ""},
	{`printf %s "{{ config.V }}"`, "", ""},
	{`printf %s pre{{ config.V }}post`, "pre", "post"},
	{`printf %s "pre {{ config.V }} post"`, "pre ", " post"},
	{`printf %s 'a'{{ config.V }}"b"`, "a", "b"},
	{`x={{ config.V }}; printf %s "$x"`, "", ""},
	{`x="a {{ config.V }}"; printf %s "$x"`, "a ", ""},
	{`f() { printf %s "$1"; }; f {{ config.V }}`, "", ""},
	{`for x in {{ config.V }}; do printf %s "$x"; done`, "", ""},
	{`case {{ config.V }} in "{{ config.V }}") printf %s {{ config.V }};; *) echo wrong;; esac`, "", ""},
	{`printf %s "$(printf %s {{ config.V }}; echo .)"`, "", "."},
	{`printf %s "$(printf %s "{{ config.V }}"; echo .)"`, "", "."},
	{`sh -c 'printf %s "$1"' x {{ config.V }}`, "", ""},
	{"if true; then\n  # a comment\n  printf %s \\\n    {{ config.V }}\nfi", "", ""},
	{`{ printf %s {{ config.V }}; } | cat`, "", ""},
	{`[ {{ config.V }} = "{{ config.V }}" ] && printf %s {{ config.V }}`, "", ""},
	{`printf %s {{ config.V }} # the end`, "", ""},
	{`printf %s \\{{ config.V }}`, `\`, ""},
	{`printf %s "\\{{ config.V }}"`, `\`, ""},
	{`printf %s \"{{ config.V }}\"`, `"`, `"`},
	{`printf %s '{{ "{{" }}x}}'{{ config.V }}`, "{{x}}", ""},
}

// Whatever a value holds, every shell takes it for one word: data never becomes code.
func TestShellValuesStayData(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"/bin/sh", "bash", "dash"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			for _, c := range shellLines {
				var script strings.Builder
				var want []byte
				for _, v := range hostile {
					script.WriteString(fillShell(t, c.line, v) + "\nprintf '\\0'\n")
					want = append(want, c.before+v+c.after+"\x00"...)
				}
				cmd := exec.CommandContext(t.Context(), path, "-c", script.String())
				cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nowhere"}
				got, err := cmd.CombinedOutput()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %v: %s", c.line, err, firstDifference(got, want))
				}
			}
		})
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\x00"), strings.Split(string(want), "\x00")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return "found " + quoted(g[i]) + " for value " + quoted(hostile[min(i, len(hostile)-1)])
		}
	}
	return "too little was printed"
}

func quoted(s string) string { return strings.ReplaceAll("«"+s+"»", "\n", "\\n") }

func fillShell(t *testing.T, line, value string) string {
	t.Helper()
	tmpl, err := job.ParseText(line)
	if err != nil {
		t.Fatal(line, err)
	}
	got, err := tmpl.FillShell(job.Scope{Config: map[string]string{"V": value}})
	if err != nil {
		t.Fatal(line, err)
	}
	return got
}

// Where a value could not be held by quotes, the line is refused; testdata/faults/shell-values.yaml has the texts. These are
// the ones that only one of the shells reads so.
func TestShellPlacesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`printf %s $'a\' {{ config.V }} '`, `printf %s $"{{ config.V }}"`, `x[{{ config.V }}]=1`, `declare -A a=([{{ config.V }}]=1)`, `let x={{ config.V }}`,
		`(( {{ config.V }} ))`, `echo $[ {{ config.V }} ]`, `[[ -v {{ config.V }} ]]`, `echo ${x/{{ config.V }}/b}`, `echo "${x:-"{{ config.V }}"}"`, `export {{ config.V }}`,
		`{{ config.V }}() { :; }`, `for {{ config.V }} in a; do :; done`, `cat <<{{ config.V }}`, "cat <<-E\n\t{{ config.V }}\nE", "cat <<E\n$(echo {{ config.V }})\nE",
		"`echo {{ config.V }}`", "echo \"`echo {{ config.V }}`\"", `eval "{{ config.V }}"`, `/bin/bash -xec "{{ config.V }}"`, `sh -o errexit -c {{ config.V }}`,
		`echo "\{{ config.V }}"`, `echo \\\{{ config.V }}`, `# {{ config.V }}`, `echo {{ config.V }} )`, `echo "{{ config.V }}`, `echo $(( ${x:-{{ config.V }}} ))`,
	} {
		tmpl, err := job.ParseText(line)
		if err != nil {
			t.Error(line, err)
			continue
		}
		if got, err := tmpl.FillShell(job.Scope{Config: map[string]string{"V": "x"}}); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%s became %s, %v", line, got, err)
		}
	}
}

func FuzzFillShell(f *testing.F) {
	for i, v := range hostile {
		f.Add(shellLines[i%len(shellLines)].line, v)
	}
	f.Add("echo {{ config.V }} {{ config.V }}", "x")
	f.Fuzz(func(t *testing.T, line, value string) {
		if strings.Contains(value, "\x00") || !utf8.ValidString(line+value) {
			return // the parser that looks at the shape takes UTF-8 only; real shells take any byte, see above
		}
		tmpl, err := job.ParseText(line)
		if err != nil || len(tmpl.Names()) == 0 {
			return
		}
		plain, err := tmpl.FillShell(job.Scope{Config: map[string]string{"V": "x"}})
		if err != nil {
			return
		}
		filled, err := tmpl.FillShell(job.Scope{Config: map[string]string{"V": value}})
		if err != nil {
			t.Skip() // other values, or too long
		}
		// The line has the same shape, whatever the value.
		if a, b := shape(t, plain), shape(t, filled); a != b {
			t.Fatalf("%q\n%q\n%q\n%s\n%s", line, plain, filled, a, b)
		}
	})
}

// shape is the structure of a shell line without its words.
func shape(t *testing.T, line string) string {
	tree, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(line), "")
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	var b strings.Builder
	syntax.Walk(tree, func(n syntax.Node) bool {
		switch n.(type) {
		case nil, *syntax.Lit, *syntax.SglQuoted:
		default:
			fmt.Fprintf(&b, "%T ", n)
		}
		return true
	})
	return b.String()
}
