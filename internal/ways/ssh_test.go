//go:build unix

package ways

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

// awkward are texts that shells like to change.
var awkward = []string{"a b", "", "$x", "$(id)", "`id`", "it's", `"`, `\`, `\n`, `\047`, "new\nline", "end\n", "!!", "*", "~", "%s%n", "a;b|c&d", "#no", "{a,b}", "ü\xff\xfe\t\r"}

func TestACommandArrivesByteForByte(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	x := wait(t, start(t, s.runner(t), s.exec(append([]string{"printf", `<%s>`}, awkward...)...)))
	want := ""
	for _, a := range awkward {
		want += "<" + a + ">"
	}
	if x.Outcome != job.Success || string(x.Output) != want || x.ExitCode == nil || *x.ExitCode != 0 {
		t.Errorf("%s %q\n%q, want\n%q", x.Outcome, x.Reason, x.Output, want)
	}
}

// The line is one that every login shell reads the same.
func TestTheLineIsForAnyShell(t *testing.T) {
	t.Parallel()
	e := &job.Exec{Argv: append([]string{"printf", `<%s>`}, awkward...)}
	line, err := remoteLine("mark", e)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, shell := range []string{"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish", "busybox"} {
		bin, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		tried++
		args := []string{"-c", line}
		if shell == "busybox" {
			args = append([]string{"sh"}, args...)
		}
		out, err := exec.Command(bin, args...).Output()
		if want := "<" + strings.Join(awkward, "><") + ">"; err != nil || string(out) != want {
			t.Errorf("%s: %v %q", shell, err, out)
		}
	}
	if tried == 0 {
		t.Error("there is no shell here")
	}
	for _, c := range []byte(line) {
		if c < ' ' || c > '~' || c == '!' {
			t.Fatalf("byte %q in %s", c, line)
		}
	}
	if _, err := remoteLine("mark", &job.Exec{Argv: []string{strings.Repeat("\n", 50_000)}}); err == nil {
		t.Error("a line that is too long is sent")
	}
	if _, err := remoteLine("mark", &job.Exec{Argv: []string{"true"}, Env: []string{"A;id=b"}}); err == nil {
		t.Error("a variable's name is interpolated")
	}
}

func TestWhatARemoteCommandIsGiven(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	dir := filepath.Join(t.TempDir(), "it's here")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	e := s.exec("/bin/sh", "-c", `echo "$OWN|$ROTA_RUN|$(pwd)"; cat; echo warn >&2; exit 3`)
	e.Env, e.Dir, e.Stdin = append(variables(), "OWN=it's \"$x\"\n2"), dir, bytes.Repeat([]byte("in\x00\xff"), 50_000)
	e.Run, e.Attempt, e.OutputLimit = "run1", 1, 1<<20
	x := wait(t, start(t, s.runner(t), e))
	if x.Outcome != job.Failed || x.ExitCode == nil || *x.ExitCode != 3 || !strings.Contains(x.Reason, "exit status 3 on 127.0.0.1") {
		t.Fatalf("%+v", x)
	}
	if want := int64(len("it's \"$x\"\n2|run1|"+dir+"\n") + 200_000 + len("warn\n")); x.OutputBytes != want {
		t.Errorf("%d bytes, want %d", x.OutputBytes, want)
	}
	of := map[job.Stream]string{} // which of them is read first is no promise
	for i, p := range x.OutputParts {
		end := len(x.Output)
		if i+1 < len(x.OutputParts) {
			end = x.OutputParts[i+1].At
		}
		of[p.Stream] += string(x.Output[p.At:end])
	}
	if head := "it's \"$x\"\n2|run1|" + dir + "\nin\x00\xff"; !strings.HasPrefix(of[job.Stdout], head) {
		t.Errorf("%q, want %q", of[job.Stdout][:min(len(of[job.Stdout]), 200)], head)
	}
	if of[job.Stderr] != "warn\n" {
		t.Errorf("stderr is not told apart: %v", x.OutputParts)
	}
	e = s.exec("pwd")
	e.Dir = dir + "/nowhere"
	if x := wait(t, start(t, s.runner(t), e)); x.Outcome != job.Failed || *x.ExitCode != 126 {
		t.Errorf("a directory that is not there: %+v", x)
	}
	if x := wait(t, start(t, s.runner(t), s.exec("no-such-program"))); x.Outcome != job.Failed || *x.ExitCode != 127 || !strings.Contains(string(x.Output), "no-such-program") {
		t.Errorf("a program that is not there: %+v", x)
	}
	if x := wait(t, start(t, s.runner(t), s.exec("/bin/sh", "-c", "kill -9 $$"))); x.Outcome != job.Failed || x.Signal != "SIGKILL" || x.ExitCode != nil || x.EndedBy != job.EndedBySignal {
		t.Errorf("a signal: %+v", x)
	}
}

// follow waits for lines in the log of an execution.
func follow(t *testing.T, logs *runlog.Dir, x job.Execution, lines int) []string {
	t.Helper()
	x.Publish()
	r, err := logs.Reader(runlog.ID{Run: "run1", Attempt: 2}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text := ""
	for strings.Count(text, "\n") < lines {
		c, err := r.Next(t.Context())
		if err != nil {
			t.Fatalf("%v after %q", err, text)
		}
		text += string(c.Data)
	}
	return strings.Split(text, "\n")
}

func alive(word string) bool {
	pid, err := strconv.Atoi(word)
	if err != nil || syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func (s *sshd) followed(t *testing.T) (*Runner, *runlog.Dir) {
	t.Helper()
	logs, err := runlog.Open(runlog.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return newRunner(t, Options{Logs: logs, Secrets: newSecrets(t, map[string]string{"deploy": s.key})}), logs
}

func TestARemoteCommandIsKilledWithItsGroup(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"", "MaxSessions 1"} { // the second has a connection of its own made for the signal
		s := startSSHD(t, settings)
		for _, c := range []struct {
			script, outcome string
			now             bool
		}{
			{"sleep 1000 & echo $$ $!; wait", "killed by ann", false},
			{"trap '' TERM; sleep 1000 & echo $$ $!; wait", "killed by ann", true},
		} {
			r, logs := s.followed(t)
			x := start(t, r, s.exec("/bin/sh", "-c", c.script))
			pids := strings.Fields(follow(t, logs, x, 1)[0])
			x.Kill("ann")
			if c.now {
				x.KillNow("ann")
			}
			if got := wait(t, x); got.Outcome != job.Killed || got.Reason != c.outcome {
				t.Errorf("%q %s: %+v", settings, c.script, got)
			}
			if len(pids) != 2 || alive(pids[0]) {
				t.Errorf("%q %s: %v are alive", settings, c.script, pids)
			}
			gone(t, pids[1])
		}
	}
}

// gone waits until a process, whose signal is sent, is no more.
func gone(t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for alive(pid) {
		select {
		case <-tick.C:
		case <-limit:
			t.Errorf("process %s goes on", pid)
			return
		}
	}
}

func TestARemoteCommandTimesOut(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	e := s.exec("sleep", "1000")
	e.Timeout = 10 * time.Millisecond
	if x := wait(t, start(t, s.runner(t), e)); x.Outcome != job.Timeout || !strings.HasPrefix(x.Reason, "timeout after 10ms") {
		t.Errorf("%+v", x)
	}
}

// A process that was left behind and holds the output open is not waited for, and what the command wrote is there.
func TestARemoteEndDoesNotWaitForStrangers(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	x := wait(t, start(t, s.runner(t), s.exec("/bin/sh", "-c", "sleep 1000 & echo $!; head -c 3000000 /dev/zero; echo end")))
	pid, _, _ := strings.Cut(string(x.Output), "\n")
	if n, err := strconv.Atoi(pid); err == nil {
		defer func() { _ = syscall.Kill(n, syscall.SIGKILL) }()
	}
	if x.Outcome != job.Success || !alive(pid) || !bytes.HasSuffix(x.Output, []byte("end\n")) || x.OutputBytes != int64(len(pid)+1+3_000_000+4) {
		t.Errorf("%s %q, %d bytes, process %s alive: %v", x.Outcome, x.Reason, x.OutputBytes, pid, alive(pid))
	}
}

func TestALostConnectionIsNoFailure(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	r, logs := s.followed(t)
	x := start(t, r, s.exec("/bin/sh", "-c", "echo $$ $PPID; exec sleep 1000"))
	pids := strings.Fields(follow(t, logs, x, 1)[0])
	server, err := strconv.Atoi(pids[1])
	if err != nil {
		t.Fatal(pids)
	}
	if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, x); got.Outcome != job.Lost || got.EndedBy != job.EndedByLoss || !strings.Contains(got.Reason, "may go on") {
		t.Errorf("%+v", got)
	}
	if n, err := strconv.Atoi(pids[0]); err == nil {
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
}

// ancestor 58
func TestAHostMustBeTheOneThatIsKnown(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	_, foreign := newKey(t)
	at := fmt.Sprintf("[127.0.0.1]:%d ", s.host.Port)
	for _, c := range []struct {
		name, known, hostKey, reason string
	}{
		{"its key", "", s.hostKey, ""},
		{"one of several", "", foreign + "\n" + s.hostKey, ""},
		{"another key", "", foreign, "not the one in ssh.host_key"},
		{"known", at + s.hostKey, "", ""},
		{"unknown", "other.example " + foreign, "", "is not in"},
		{"changed", at + foreign, "", "is not the one in"},
		{"revoked", "@revoked " + at + s.hostKey, "", "revoked"},
	} {
		h := s.host
		h.HostKey, h.Key = c.hostKey, &job.SecretRef{Secret: "deploy"}
		if c.known != "" {
			h.KnownHosts = s.write(t, "known_hosts", c.known+"\n")
		}
		x := wait(t, start(t, s.runner(t), job.Exec{Way: &job.Way{SSH: &h}, Argv: []string{"echo", "here"}}))
		if (x.Outcome == job.Success) != (c.reason == "") || !strings.Contains(x.Reason, c.reason) || (c.reason != "") && len(x.Output) > 0 {
			t.Errorf("%s: %s %q %s", c.name, x.Outcome, x.Reason, x.Output)
		}
	}
	for _, h := range []job.SSH{{KnownHosts: "/nowhere/known_hosts"}, {HostKey: "nonsense"}} {
		h.Host, h.Port, h.Key = s.host.Host, s.host.Port, &job.SecretRef{Secret: "deploy"}
		if _, err := s.runner(t).Start(t.Context(), job.Exec{Way: &job.Way{SSH: &h}, Argv: []string{"true"}}); err == nil {
			t.Errorf("%+v was accepted", h)
		}
	}
}

func TestHowToLogIn(t *testing.T) {
	s := startSSHD(t)
	foreign, _ := newKey(t)
	sealed, err := ssh.ParseRawPrivateKey([]byte(s.key))
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: sealed}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = agent.ServeAgent(ring, c)
			}()
		}
	}()
	r := newRunner(t, Options{Secrets: newSecrets(t, map[string]string{"deploy": s.key, "foreign": foreign, "text": "no key", "password": "p4ssw0rd-value"})})
	run := func(change func(*job.SSH)) (job.Exit, error) {
		h := s.host
		change(&h)
		x, err := r.Start(t.Context(), job.Exec{Way: &job.Way{SSH: &h}, Argv: []string{"echo", "here"}})
		if err != nil {
			return job.Exit{}, err
		}
		return wait(t, x), nil
	}
	if _, err := run(func(h *job.SSH) { h.Agent = true }); os.Getenv("SSH_AUTH_SOCK") == "" && (err == nil || !strings.Contains(err.Error(), "SSH_AUTH_SOCK")) {
		t.Errorf("no ssh-agent: %v", err)
	}
	t.Setenv("SSH_AUTH_SOCK", l.Addr().String())
	if x, err := run(func(h *job.SSH) { h.Agent = true }); err != nil || x.Outcome != job.Success {
		t.Errorf("ssh-agent: %v %+v", err, x)
	}
	for name, want := range map[string]string{"foreign": "unable to authenticate", "text": "is no private key", "missing": "missing does not exist"} {
		x, err := run(func(h *job.SSH) { h.Key = &job.SecretRef{Secret: name} })
		if all := fmt.Sprint(x.Reason, err); !strings.Contains(all, want) || x.Outcome == job.Success || strings.Contains(all, "PRIVATE KEY") {
			t.Errorf("%s: %s", name, all)
		}
	}
	if x, err := run(func(h *job.SSH) { h.Password = &job.SecretRef{Secret: "password"} }); err != nil || x.Outcome != job.Failed || strings.Contains(x.Reason, "p4ssw0rd") {
		t.Errorf("a password that is refused: %v %+v", err, x)
	}
	if x, err := run(func(h *job.SSH) { h.Key, h.Port = &job.SecretRef{Secret: "deploy"}, freePort(t) }); err != nil || !strings.Contains(x.Reason, "refused") {
		t.Errorf("nobody listens: %v %+v", err, x)
	}
}

// A key that the command prints is not in the output.
func TestTheOutputOfARemoteCommandIsMasked(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	e := s.exec("cat")
	e.Stdin = []byte("before\n" + s.key + "after\n")
	x := wait(t, start(t, s.runner(t), e))
	if x.Outcome != job.Success || string(x.Output) != "before\n[secret]\nafter\n" {
		t.Errorf("%s %q", x.Outcome, x.Output)
	}
}

// A password reaches a host that asks for it. OpenSSH would need an account for it, so the host is another.
func TestAPasswordLogsIn(t *testing.T) {
	t.Parallel()
	private, public := newKey(t)
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	conf := &ssh.ServerConfig{PasswordCallback: func(c ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
		if c.User() == "bob" && string(p) == "p4ssw0rd-value" {
			return nil, nil
		}
		return nil, fmt.Errorf("no")
	}}
	conf.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn, chans, reqs, err := ssh.NewServerConn(c, conf)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		for n := range chans {
			ch, reqs, err := n.Accept()
			if err != nil {
				return
			}
			for q := range reqs {
				_ = q.Reply(q.Type == "exec", nil)
				fmt.Fprint(ch, "welcome, you said p4ssw0rd-value")
				_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
				ch.Close()
			}
		}
		conn.Close()
	}()
	r := newRunner(t, Options{Secrets: newSecrets(t, map[string]string{"password": "p4ssw0rd-value"})})
	h := &job.SSH{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "bob", Password: &job.SecretRef{Secret: "password"}, HostKey: public}
	x := wait(t, start(t, r, job.Exec{Way: &job.Way{SSH: h}, Argv: []string{"true"}}))
	if x.Outcome != job.Success || string(x.Output) != "welcome, you said [secret]" {
		t.Errorf("%s %q %s", x.Outcome, x.Reason, x.Output)
	}
}

// What a remote command prints last is its result, masked, and where it is none the record says why.
func TestResultOfARemoteCommand(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	for _, c := range []struct {
		from         job.Stream
		script       string
		result, fail string
	}{
		{job.Stdout, `echo start; echo '{"rows": 3}'; echo '{"other": 1}' >&2; echo done`, `{"rows": 3}`, ""},
		{job.Stderr, `echo '{"rows": 3}'; echo '{"other": 1}' >&2; exit 4`, `{"other": 1}`, ""},
		{job.Stdout, "cat", `{"key": "[secret]"}`, ""},
		{job.Stdout, `echo '{"rows":'`, "", "stdout: its last JSON object breaks off"},
		{job.Stdout, `echo nothing`, "", ""},
		{"", `echo '{"rows": 3}'`, "", ""},
	} {
		e := s.exec("/bin/sh", "-c", c.script)
		e.ResultFrom, e.Stdin = c.from, fmt.Appendf(nil, `{"key": %q}`, strings.TrimSpace(s.key))
		x := wait(t, start(t, s.runner(t), e))
		if string(x.Result) != c.result || x.ResultError != c.fail {
			t.Errorf("%s of %s: %q, %q", c.from, c.script, x.Result, x.ResultError)
		}
	}
}

// A host may tell the exit status before all of the output, and may never end a stream that a process left behind holds open: what was
// written before the command ended is there, and the end does not wait for the stream.
func TestOutputAfterTheStatus(t *testing.T) {
	t.Parallel()
	private, public := newKey(t)
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	conf := &ssh.ServerConfig{NoClientAuth: true}
	conf.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn, chans, reqs, err := ssh.NewServerConn(c, conf)
		if err != nil {
			return
		}
		defer conn.Close()
		ch, of, err := (<-chans).Accept()
		if err != nil {
			return
		}
		_ = (<-of).Reply(true, nil) // exec
		fmt.Fprint(ch, "early ")
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
		for left := 1; ; left-- { // when it is asked whether it is there, it has something left to say
			q, ok := <-reqs
			if !ok {
				return
			}
			if left > 0 {
				fmt.Fprint(ch, "late ")
			}
			_ = q.Reply(false, nil)
		}
	}()
	r := newRunner(t, Options{Secrets: newSecrets(t, map[string]string{"password": "not-asked-for"})})
	h := &job.SSH{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "bob", Password: &job.SecretRef{Secret: "password"}, HostKey: public}
	x := wait(t, start(t, r, job.Exec{Way: &job.Way{SSH: h}, Argv: []string{"true"}}))
	if x.Outcome != job.Success || string(x.Output) != "early late " {
		t.Errorf("%s %q %q", x.Outcome, x.Reason, x.Output)
	}
	<-over
}

// An ordinary agent speaks SSH as root does. As root the test runs itself as nobody, who logs in where root let it.
func TestAsAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // all of the tests here are run as one
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ways") //nolint:usetesting // nobody must get at it, also through the folders above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("cp", os.Args[0], dir+"/test").Run(); err != nil {
		t.Fatal(err)
	}
	s := startSSHD(t)
	given, err := json.Marshal(givenHost{s.host, s.hostKey, s.key})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/test", "-test.v", "-test.run", "^Test(ACommandArrives|WhatARemote|ARemoteCommandTimesOut|AHostMust|HowToLogIn|ResultOfARemote|TheOutputOf)")
	cmd.Dir = dir
	cmd.Env = []string{"TMPDIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH"), givenSSHD + "=" + string(given)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "--- PASS") != 7 {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}
