package policy

import (
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func parse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse("node.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// machine resolves what a test says it has.
func machine(is Resolved) Resolver {
	return func(e job.Exec, w Wanted) (Resolved, error) {
		if is.User == "" {
			is.User, is.UID = e.User, 1000
		}
		if is.User == "root" {
			is.UID = 0
		}
		if !w.Command {
			is.Command = ""
		} else if is.Command == "" {
			is.Command = e.Argv[0]
		}
		return is, nil
	}
}

func TestWhatAPolicyRefuses(t *testing.T) {
	t.Parallel()
	argv := func(words ...string) job.Exec { return job.Exec{Argv: words, User: "ann"} }
	for _, c := range []struct {
		policy string
		exec   job.Exec
		is     Resolved
		want   string // part of the refusal; empty: allowed
	}{
		{"", argv("/bin/rm"), Resolved{}, ""},
		{"users: {deny: [root]}", job.Exec{User: "root", Argv: []string{"x"}}, Resolved{}, "user root is denied"},
		{"users: {deny: [root]}", job.Exec{User: "0", Argv: []string{"x"}}, Resolved{User: "root"}, "user root is denied"},
		{"users: {deny: [root]}", job.Exec{User: "toor", Argv: []string{"x"}}, Resolved{User: "toor", UID: 0}, "user toor is denied"},
		{"users: {deny: [root]}", argv("x"), Resolved{}, ""},
		{"users: {allow: [ann]}", job.Exec{User: "bob", Argv: []string{"x"}}, Resolved{}, "user bob is not allowed"},
		{"users: {allow: ['a*']}", argv("x"), Resolved{}, ""},
		{"users: {allow: ['*'], deny: [ann]}", argv("x"), Resolved{}, "user ann is denied"},
		{"users: {allow: []}", argv("x"), Resolved{}, "user ann is not allowed"},
		{"users: {allow: [root]}", job.Exec{User: "toor", Argv: []string{"x"}}, Resolved{User: "toor", UID: 0}, "user toor is not allowed"},
		{"commands: {allow: [/usr/bin/id]}", argv("id"), Resolved{Command: "/usr/bin/id"}, ""},
		{"commands: {allow: [/usr/bin/id]}", argv("/tmp/id"), Resolved{Command: "/bin/busybox"}, "command /bin/busybox is not allowed"},
		{"commands: {allow: [/opt/*]}", argv("x"), Resolved{Command: "/opt/jobs/x"}, "not allowed"},
		{"commands: {allow: [/opt/**]}", argv("x"), Resolved{Command: "/opt/jobs/x"}, ""},
		{"commands: {allow: [/opt/**]}", argv("x"), Resolved{Command: "/optional/x"}, "not allowed"},
		{"commands: {deny: [/usr/bin/rm]}", argv("rm"), Resolved{Command: "/usr/bin/rm"}, "command /usr/bin/rm is denied"},
		{"commands: {allow: [/x]}", job.Exec{Argv: []string{"/x"}, Env: []string{"LD_PRELOAD=/tmp/e.so"}}, Resolved{}, "LD_PRELOAD is denied"},
		{"commands: {allow: [/x]}\nenv: {deny: []}", job.Exec{Argv: []string{"/x"}, Env: []string{"LD_PRELOAD=y"}}, Resolved{}, ""},
		{"commands: {allow: [/x]}\nenv: {deny: ['SECRET_*']}", job.Exec{Argv: []string{"/x"}, Env: []string{"LD_PRELOAD=y"}}, Resolved{}, "LD_PRELOAD is denied"},
		{"commands: {allow: [/x]}\nenv: {deny: ['SECRET_*']}", job.Exec{Argv: []string{"/x"}, Env: []string{"SECRET_A=1"}}, Resolved{}, "SECRET_A is denied"},
		{"env: {deny: ['SECRET_*']}", job.Exec{Argv: []string{"/x"}, Env: []string{"SECRET_A=1"}}, Resolved{}, "SECRET_A is denied"},
		{"shell: false", argv("/bin/sh", "-c", "id"), Resolved{Command: "/usr/bin/dash"}, "is a shell"},
		{"shell: false", argv("/opt/bash"), Resolved{Command: "/opt/prog"}, "is a shell"},
		{"shell: false", argv("id"), Resolved{Command: "/usr/bin/id"}, ""},
		{"shell: true", argv("/bin/sh"), Resolved{}, ""},
		{"dirs: {allow: [/var/lib/shop]}", argv("x"), Resolved{Dir: "/var/lib/shop/a/b"}, ""},
		{"dirs: {allow: [/var/lib/shop/]}", argv("x"), Resolved{Dir: "/var/lib/shop"}, ""},
		{"dirs: {allow: [/var/lib/shop]}", argv("x"), Resolved{Dir: "/var/lib/shopping"}, "directory /var/lib/shopping is not allowed"},
		{"dirs: {allow: [/]}", argv("x"), Resolved{Dir: "/etc"}, ""},
		{"dirs: {deny: [/etc]}", argv("x"), Resolved{Dir: "/etc/cron.d"}, "is denied"},
		{"http: false", job.Exec{Way: &job.Way{HTTP: &job.HTTP{}}}, Resolved{}, "HTTP runs are not allowed"},
		{"ssh: false", job.Exec{Way: &job.Way{SSH: &job.SSH{Host: "db1"}}}, Resolved{}, "db1 is not allowed"},
		{"ssh: {allow: ['backup@db*']}", job.Exec{Way: &job.Way{SSH: &job.SSH{Host: "db1", User: "backup"}}}, Resolved{}, ""},
		{"ssh: {allow: ['backup@db*']}", job.Exec{Way: &job.Way{SSH: &job.SSH{Host: "db1", User: "ann"}}}, Resolved{}, "SSH to ann@db1 is not allowed"},
		{"ssh: {allow: ['db*'], deny: ['root@*']}", job.Exec{Way: &job.Way{SSH: &job.SSH{Host: "db1", User: "root"}}}, Resolved{}, "SSH to root@db1 is denied"},
		{"ssh: {deny: ['" + self(t) + "@*']}", job.Exec{Way: &job.Way{SSH: &job.SSH{Host: "db1"}}}, Resolved{}, "@db1 is denied"},
		{"users: {allow: [ann]}", job.Exec{Way: &job.Way{SSH: &job.SSH{Host: "db1", User: "bob"}}}, Resolved{}, ""}, // no account of this machine
		{"users: {allow: [ann]}", job.Exec{Way: &job.Way{Handler: "h"}}, Resolved{}, ""},
		{"ssh: {allow: ['db*']}", job.Exec{Way: &job.Way{SSH: &job.SSH{Host: "db1"}}}, Resolved{}, ""},
		{"handlers: {deny: [wipe]}", job.Exec{Way: &job.Way{Handler: "wipe"}}, Resolved{}, "handler wipe is denied"},
	} {
		_, err := parse(t, c.policy).Admit(c.exec, machine(c.is))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v %+v: %v, want %q", c.policy, c.exec.Argv, c.is, err, c.want)
		}
		if err != nil && (job.CodeOf(err) != job.CodeForbidden || !strings.HasPrefix(err.Error(), "refused by the node's policy node.yaml: ")) {
			t.Errorf("%s: %v", c.policy, err)
		}
	}
}

// self is the login name of whom the test runs as.
func self(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

func TestWhatCannotBeFoundOutIsNotRun(t *testing.T) {
	t.Parallel()
	_, err := parse(t, "commands: {deny: [/x]}").Admit(job.Exec{Argv: []string{"y"}}, func(job.Exec, Wanted) (Resolved, error) {
		return Resolved{}, job.Errorf(job.CodeInvalid, "there is no y")
	})
	if err == nil {
		t.Error("it was admitted")
	}
}

func TestBoundsAndDefaults(t *testing.T) {
	t.Parallel()
	p := parse(t, `
users: {default: nobody}
timeout: {default: 10m, max: 1h}
output: {max: 1MiB}
limits:
  max: {memory: 1GiB, processes: 100, cpu: 2}
  default: {memory: 64MiB, umask: "0077"}
max_runs: 3
`)
	if p.MaxRuns != 3 {
		t.Errorf("max_runs %d", p.MaxRuns)
	}
	e, err := p.Admit(job.Exec{Argv: []string{"x"}}, nil)
	if err != nil || e.User != "nobody" || e.Timeout != 10*time.Minute || e.OutputLimit != 0 ||
		e.Limits != (job.Limits{Memory: 64 << 20, Processes: 100, CPU: 2, Umask: "0077"}) {
		t.Errorf("%+v, %v", e, err)
	}
	e, err = p.Admit(job.Exec{
		Argv: []string{"x"}, User: "ann", Timeout: 2 * time.Hour, OutputLimit: 2 << 20, Limits: job.Limits{Memory: 2 << 30, Processes: 5},
	}, nil)
	if err != nil || e.User != "ann" || e.Timeout != time.Hour || e.OutputLimit != 1<<20 ||
		e.Limits != (job.Limits{Memory: 1 << 30, Processes: 5, CPU: 2, Umask: "0077"}) {
		t.Errorf("%+v, %v", e, err)
	}
	if e, _ := parse(t, "output: {max: 1KiB}").Admit(job.Exec{}, nil); e.OutputLimit != 1024 {
		t.Errorf("output within %d", e.OutputLimit)
	}
	if e, _ := parse(t, "timeout: {max: 1h}").Admit(job.Exec{}, nil); e.Timeout != time.Hour {
		t.Errorf("no timeout became %s", e.Timeout)
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	p := parse(t, "http: {allow: [10.0.0.0/8, '2001:db8::/32'], deny: [10.9.9.9]}")
	for addr, ok := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "2001:db8::1": true, "10.9.9.9": false, "::ffff:10.9.9.9": false, "192.0.2.1": false,
	} {
		if err := p.AdmitHTTP(netip.MustParseAddr(addr)); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestFaultsOfAFile(t *testing.T) {
	t.Parallel()
	_, err := Parse("/etc/rota/node.yaml", []byte(`users:
  alow: [root]
  default: ""
commands: {allow: [id, /usr/../bin/id, "/a[b"]}
shell: maybe
max_runs: 0
timeout: {max: 1h, default: 2h}
limits: {max: {memory: lots, nice: 3}}
http: {allow: [example.org]}
dirs: [/x]
`))
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{
		`/etc/rota/node.yaml:2:3: users.alow: unknown field; did you mean allow?`,
		`/etc/rota/node.yaml:3:12: users.default: this is not a user`,
		`/etc/rota/node.yaml:4:20: commands.allow: "id" is not an absolute path; write it from /`,
		`/etc/rota/node.yaml:4:24: commands.allow: "/usr/../bin/id" is not an absolute path`,
		`/etc/rota/node.yaml:4:40: commands.allow: "/a[b" is not a pattern`,
		`/etc/rota/node.yaml:5:8: shell: want true or false`,
		`/etc/rota/node.yaml:6:11: max_runs: want a number from 1`,
		`timeout.default: it is more than the most, 1h`,
		`/etc/rota/node.yaml:8:24: limits.max.memory: "lots" is not a size`,
		`limits.max.nice: unknown field`,
		`/etc/rota/node.yaml:9:16: http.allow: "example.org" is not a network; write it as 10.0.0.0/8`,
		`/etc/rota/node.yaml:10:7: dirs: want an object; write allow: …, deny: …`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q:\n%v", want, err)
		}
	}
	for _, text := range []string{"users: [", "a: b: c", "--- {}\n---\n{shell: true}\n---\n{shell: true}", "\x00", "users: {allow: &a [x]}\ndirs: *a", "- x"} {
		if _, err := Parse("f", []byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func TestReloadKeepsTheOldOneWhenTheNewOneIsBad(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "node.yaml")
	write(t, file, "max_runs: 1", 0o644)
	l, err := Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	l.OnChange(func() { changes++ })
	write(t, file, "max_runs: 2", 0o644)
	if err := l.Reload(); err != nil || l.MaxRuns() != 2 || changes != 1 {
		t.Errorf("%v, %d, %d changes", err, l.MaxRuns(), changes)
	}
	write(t, file, "max_runs: none", 0o644)
	if err := l.Reload(); err == nil || l.MaxRuns() != 2 {
		t.Errorf("%v, %d", err, l.MaxRuns())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := l.Reload(); err == nil || l.MaxRuns() != 2 || changes != 1 {
		t.Errorf("%v, %d, %d changes", err, l.MaxRuns(), changes)
	}
	if _, err := Open(file, nil); err == nil || !strings.Contains(err.Error(), "--policy") {
		t.Errorf("a file that was named and is missing: %v", err)
	}
}

// A policy that others may change is none.
func TestAPolicyIsItsOwners(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "node.yaml")
	write(t, file, "shell: false", 0o600)
	if _, err := Read(file); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o620, 0o602} {
		write(t, file, "shell: false", mode)
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), "chmod go-w "+file) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	write(t, file, "shell: false", 0o600)
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{file, link} {
		if _, err := Read(f); err == nil || !strings.Contains(err.Error(), "directory "+dir) {
			t.Errorf("in an open directory: %v", err)
		}
	}
	t.Chdir(dir)
	if _, err := Read("node.yaml"); err == nil || !strings.Contains(err.Error(), "directory "+dir) {
		t.Errorf("in an open directory, by a relative path: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil {
		t.Error("a directory was read")
	}
	if os.Geteuid() != 0 {
		t.Skip("to give files away needs root")
	}
	if err := os.Chown(file, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Errorf("another's file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("users: {allow: [a], deny: b, default: a}\nshell: false\nlimits: {max: {cpu: 1.5}}")
	f.Add("http: {allow: ['::1']}\noutput: {max: 1KiB}\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("f", []byte(text))
		if (p == nil) != (err != nil) {
			t.Errorf("%v and %v", p, err)
		}
		if p != nil {
			_, _ = p.Admit(job.Exec{Argv: []string{"/x"}, Env: []string{"A=b"}}, machine(Resolved{Dir: "/"}))
		}
	})
}

// The example for operators is a policy that is accepted as it stands.
func TestPolicyInDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/node.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```yaml\n")
	example, _, ok := strings.Cut(after, "```")
	if p := parse(t, example); !ok || p.MaxRuns != 20 || !p.NoShell || !p.SSH.Only || p.DefaultUser != "nobody" {
		t.Errorf("%+v", p)
	}
}
