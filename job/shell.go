package job

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// quoting says how a value is written at its place in a shell line.
type quoting int

const (
	forbidden quoting = iota // no value may stand there
	bare                     // 'value'
	inDouble                 // the quotes are closed, 'value' follows, and they are opened again
)

// maxBrackets bounds how deep a shell line with values can be.
const maxBrackets = 10_000

// FillShell puts the values into a shell line, each as one quoted word: whatever it holds, the shell reads it as
// data. It may stand by itself or in double quotes; where quoting could not hold it (in backquotes, here-documents,
// arithmetic, ${…}, $'…', comments, single quotes, what eval or a nested sh -c would read again) it is an error.
func (t *Text) FillShell(scope Scope) (string, error) {
	places, faults := t.quoting()
	if len(faults) > 0 {
		f := Faults{Fields: located(t.source, faults)}
		return "", f.Err("the shell line cannot take its values")
	}
	return t.fill(scope, func(i int, v string) (string, error) {
		if strings.IndexByte(v, 0) >= 0 {
			return "", Errorf(CodeInvalid, "there is a NUL byte in it")
		}
		switch places[i] {
		case bare:
			return quote(v), nil
		case inDouble:
			return `"` + quote(v) + `"`, nil
		}
		return "", Errorf(CodeInternal, "a value without a place")
	})
}

// quote makes one word of a text in every POSIX shell, whatever its bytes.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoting finds out where in the shell line each value stands, by the number of its part. The line is parsed with a harmless
// word in place of each value, both as POSIX and as bash have it, since /bin/sh is either; they must agree.
func (t *Text) quoting() (map[int]quoting, []FieldError) {
	line, stands := t.standIns()
	if len(stands) == 0 {
		return nil, nil
	}
	if n := strings.Count(line, "(") + strings.Count(line, "{"); n > maxBrackets {
		return nil, []FieldError{{Message: fmt.Sprintf("a shell line with values has %d brackets, at most %d are allowed", n, maxBrackets)}}
	}
	places, faults := t.contexts(line, stands, syntax.LangBash)
	if len(faults) > 0 {
		return nil, faults
	}
	if posix, bad := t.contexts(line, stands, syntax.LangPOSIX); len(bad) == 0 {
		for i, q := range places {
			if posix[i] != q {
				faults = append(faults, t.refuse(i, "shells disagree about how it is quoted"))
			}
		}
	}
	return places, faults
}

// standIn is the word that takes a value's place while the line is parsed.
type standIn struct {
	part       int
	start, end int // in the line
}

func (t *Text) standIns() (string, []standIn) {
	word := "ROTAVALUE"
	for n := 0; strings.Contains(t.source, word); n++ {
		word = "ROTAVALUE" + strconv.Itoa(n) + "X"
	}
	var line strings.Builder
	var stands []standIn
	for i, p := range t.parts {
		if !p.value {
			line.WriteString(p.text)
			continue
		}
		start := line.Len()
		line.WriteString(word)
		stands = append(stands, standIn{part: i, start: start, end: line.Len()})
	}
	return line.String(), stands
}

// sourceOffset is where in the template an offset of the line with stand-ins is.
func (t *Text) sourceOffset(stands []standIn, off int) int {
	at := 0 // where the present part begins in the line
	for i, p := range t.parts {
		size := len(p.text)
		if n := slices.IndexFunc(stands, func(s standIn) bool { return s.part == i }); n >= 0 {
			size = stands[n].end - stands[n].start
		}
		if off < at+size {
			if p.value {
				return p.off
			}
			return min(p.off+off-at, p.end)
		}
		at += size
	}
	return len(t.source)
}

func (t *Text) refuse(part int, why string) FieldError {
	p := t.parts[part]
	why, hint, ok := strings.Cut(why, "; ")
	if !ok {
		hint = `put it in an environment variable of the task and write "$NAME" here`
	}
	return FieldError{Message: fmt.Sprintf("{{%s}} cannot be quoted here: %s", p.text, why), Hint: hint, at: place{off: p.off}}
}

func (t *Text) contexts(line string, stands []standIn, lang syntax.LangVariant) (map[int]quoting, []FieldError) {
	tree, err := syntax.NewParser(syntax.Variant(lang)).Parse(strings.NewReader(line), "")
	if err != nil {
		e := FieldError{Message: fmt.Sprintf("the shell line cannot be read, so its values cannot be quoted: %v", err)}
		var p syntax.ParseError
		if errors.As(err, &p) {
			e.Message = "the shell line cannot be read, so its values cannot be quoted: " + p.Text
			e.at.off = t.sourceOffset(stands, int(p.Pos.Offset()))
		}
		return nil, []FieldError{e}
	}
	w := shellWalk{line: line, stands: stands, places: map[int]quoting{}, why: map[int]string{}}
	syntax.Walk(tree, w.visit)
	var faults []FieldError
	for _, s := range stands {
		if w.places[s.part] == forbidden {
			why := w.why[s.part]
			if why == "" {
				why = "no word of a command stands here"
			}
			faults = append(faults, t.refuse(s.part, why))
		}
	}
	return w.places, faults
}

// shellWalk goes through the tree of a shell line with the nodes above the present one.
type shellWalk struct {
	line   string
	stands []standIn
	above  []syntax.Node
	places map[int]quoting
	why    map[int]string
}

func (w *shellWalk) visit(n syntax.Node) bool {
	if n == nil {
		w.above = w.above[:len(w.above)-1]
		return true
	}
	switch n.(type) {
	case *syntax.Lit, *syntax.SglQuoted:
		for _, s := range w.stands {
			if int(n.Pos().Offset()) <= s.start && s.end <= int(n.End().Offset()) {
				w.places[s.part], w.why[s.part] = w.place(n, s)
			}
		}
	}
	w.above = append(w.above, n)
	return true
}

// place decides on one value, which stands in n.
func (w *shellWalk) place(n syntax.Node, s standIn) (quoting, string) {
	if why := w.refusedAbove(s); why != "" {
		return forbidden, why
	}
	if _, ok := n.(*syntax.SglQuoted); ok {
		return forbidden, "it stands in single quotes; end them before it, or use double quotes"
	}
	backslashes := 0
	for i := s.start - 1; i >= 0 && w.line[i] == '\\'; i-- {
		backslashes++
	}
	if backslashes%2 == 1 {
		return forbidden, "a backslash stands before it"
	}
	switch parent := w.above[len(w.above)-1].(type) {
	case *syntax.Word:
		return bare, ""
	case *syntax.DblQuoted:
		if parent.Dollar {
			return forbidden, `it stands in $"…"`
		}
		return inDouble, ""
	}
	return forbidden, "a name stands here"
}

// refusedAbove is why no value may stand below the nodes above, or "". After "; " it says what to do instead.
func (w *shellWalk) refusedAbove(s standIn) string {
	for i, n := range w.above {
		switch n := n.(type) {
		case *syntax.File, *syntax.Stmt, *syntax.Word, *syntax.DblQuoted, *syntax.ProcSubst, *syntax.Subshell, *syntax.Block,
			*syntax.IfClause, *syntax.WhileClause, *syntax.ForClause, *syntax.WordIter, *syntax.CaseClause, *syntax.CaseItem,
			*syntax.BinaryCmd, *syntax.FuncDecl, *syntax.TimeClause, *syntax.DeclClause, *syntax.ArrayExpr:
		case *syntax.CmdSubst:
			if n.Backquotes {
				return "it stands in backquotes; write $(…) instead"
			}
		case *syntax.Redirect:
			if n.Op == syntax.Hdoc || n.Op == syntax.DashHdoc {
				return "it stands in a here-document; use the task's stdin, or set a variable first"
			}
		case *syntax.Assign:
			if n.Index != nil {
				return "it stands beside an index"
			}
		case *syntax.ArrayElem:
			if n.Index != nil {
				return "it stands beside an index"
			}
		case *syntax.CallExpr:
			if why := w.readAgain(n, w.above[i+1:], s); why != "" {
				return why
			}
		case *syntax.ParamExp:
			return "it stands in ${…}"
		case *syntax.ArithmExp, *syntax.ArithmCmd, *syntax.LetClause:
			return "it stands in arithmetic"
		case *syntax.TestClause:
			return "it stands in [[ … ]]; use [ … ]"
		default:
			return "it is not a plain word of a command"
		}
	}
	return ""
}

// readAgain says why a value may not be this argument of a command: the command would read it as code.
func (w *shellWalk) readAgain(c *syntax.CallExpr, below []syntax.Node, s standIn) string {
	if len(below) == 0 {
		return "" // an assignment before the command
	}
	arg := slices.IndexFunc(c.Args, func(a *syntax.Word) bool { return syntax.Node(a) == below[0] })
	if arg < 1 {
		return ""
	}
	argv := make([]string, len(c.Args))
	for i, a := range c.Args {
		argv[i] = a.Lit()
	}
	script := shellScript(argv)
	for _, again := range []bool{argv[0] == "eval", argv[0] == "trap" && arg == 1, script == arg} {
		if again {
			return path.Base(argv[0]) + " would read it as code; pass it as an argument or in a variable"
		}
	}
	return ""
}
