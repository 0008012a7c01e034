//go:build linux

package rota_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rota-dev/rota"
	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// embedderDir makes the test program one with a server in that folder.
const embedderDir = "ROTA_TEST_EMBEDDER"

func TestMain(m *testing.M) {
	rota.GuardMain()
	if dir := os.Getenv(embedderDir); dir != "" {
		fmt.Fprintln(os.Stderr, embedder(dir))
		os.Exit(1) // it ends by a kill
	}
	os.Exit(m.Run())
}

// embedder serves, says where, and goes on until it is killed.
func embedder(dir string) error {
	s := rota.NewServer(rota.ServerOptions{NodeOptions: rota.NodeOptions{Name: "first", Dir: dir, Guarded: true}, Listen: "127.0.0.1:0"})
	go func() {
		<-s.Ready()
		fmt.Println(s.URL())
	}()
	return s.Run(context.Background())
}

// startEmbedder starts such a program, and returns a client of it and the kill -9 that ends it.
func startEmbedder(t *testing.T, dir string) (*client.Client, func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), embedderDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.Options{Server: strings.TrimSpace(url), Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl, kill
}

// A command goes on while the program that embeds its node is killed, and has its real exit and its whole output in the next life.
func TestACommandOutlivesItsEmbedder(t *testing.T) {
	t.Parallel()
	dir, work := t.TempDir(), t.TempDir()
	begun, gate := filepath.Join(work, "begun"), filepath.Join(work, "gate")
	for _, f := range []string{begun, gate} {
		if err := syscall.Mkfifo(f, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open, err := os.OpenFile(gate, os.O_RDWR, 0) // so that nobody has to wait for it to be opened
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	cl, kill := startEmbedder(t, dir)
	task := job.Task{Name: "long", Command: job.Line("echo before; echo >" + begun + "; read x <" + gate + "; echo after; exit 7")}
	if _, err := cl.Apply(t.Context(), []job.Task{task}, client.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := cl.Run(t.Context(), client.RunRequest{Task: task.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(begun); err != nil {
		t.Fatal(err)
	}
	kill()
	cl, _ = startEmbedder(t, dir)
	if _, err := open.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	v, err := cl.WaitRun(t.Context(), answer.Runs[0].Run)
	if err != nil || v.Record == nil {
		t.Fatalf("%+v %v", v, err)
	}
	if r := v.Record; r.Outcome != job.Failed || r.ExitCode == nil || *r.ExitCode != 7 || r.Output != "before\nafter\n" {
		t.Errorf("%s (%s), %v, %q", r.Outcome, r.Reason, r.ExitCode, r.Output)
	}
}
