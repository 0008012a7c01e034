package ways

import (
	"fmt"
	"strings"

	"github.com/rota-dev/rota/job"
)

// maxRemote is the most bytes of a command line that Linux takes as one argument, less room.
const maxRemote = 120 << 10

// remoteLine is the line that is sent for a command: it exports variables, enters the directory, reports its process on stderr
// with a mark, and becomes the command.
//
// The login shell of the other side may be any: bash, csh, fish. So the script for /bin/sh is sent as octal escapes in
// single quotes, without a byte that any of them treats specially, and every byte arrives as it is.
func remoteLine(mark string, e *job.Exec) (string, error) {
	var b strings.Builder
	for _, v := range e.Env {
		name, value, _ := strings.Cut(v, "=")
		if !variableName(name) {
			return "", job.Errorf(job.CodeInvalid, "%q is no name of a variable", name)
		}
		fmt.Fprintf(&b, "export %s=%s\n", name, quote(value))
	}
	if e.Dir != "" {
		fmt.Fprintf(&b, "cd %s || exit 126\n", quote(e.Dir))
	}
	fmt.Fprintf(&b, "printf '%%s %%s\\n' %s $$ >&2\nexec", quote(mark))
	for _, arg := range e.Argv {
		b.WriteString(" " + quote(arg))
	}
	line := shellLine(b.String())
	if len(line) > maxRemote {
		return "", job.Errorf(job.CodeInvalid, "the command and its environment are too large for one command line").
			WithHint("hand large data over by stdin")
	}
	return line, nil
}

// shellLine has /bin/sh run a script, whatever shell reads the line.
func shellLine(script string) string {
	var b strings.Builder
	for _, c := range []byte(script) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(" _./=:,+@-", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return `exec /bin/sh -c 'eval "$(printf "` + b.String() + `")"'`
}

// killLine sends a signal to the group of a process that remoteLine reported, or to it alone where it leads none. The number is one: it
// was read as such.
func killLine(signal string, pid int) string {
	return shellLine(fmt.Sprintf("kill -s %s -- -%d 2>/dev/null || kill -s %s %d", signal, pid, signal, pid))
}

// quote makes one word of a text for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func variableName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', i > 0 && '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return s != ""
}
