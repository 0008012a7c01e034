package port

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Other processes are given other addresses as long as this one lives, also where they ask at the same time.
func TestFree(t *testing.T) {
	const each = 200
	next = 0 // all of them begin at the same one
	if os.Getenv("ROTA_TEST_PORTS") != "" {
		var all []string
		for range each {
			all = append(all, Must(t))
		}
		os.Stdout.WriteString(strings.Join(all, " ") + "\n")
		os.Stdin.Read(make([]byte, 1)) // what it has stays its own until its input ends
		return
	}
	seen := map[string]bool{}
	add := func(addrs ...string) {
		for _, a := range addrs {
			if seen[a] {
				t.Fatalf("%s was handed out twice", a)
			}
			seen[a] = true
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		cmd := exec.Command(self, "-test.run=^TestFree$")
		cmd.Env = append(os.Environ(), "ROTA_TEST_PORTS=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			_ = cmd.Wait()
		})
		var b strings.Builder
		for buf := make([]byte, 4096); !strings.Contains(b.String(), "\n"); {
			n, err := out.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				t.Fatalf("%v: %s", err, b.String())
			}
		}
		addrs := strings.Fields(b.String())
		if len(addrs) != each {
			t.Fatalf("it has %d addresses: %s", len(addrs), b.String())
		}
		add(addrs...)
	}
	for range each {
		add(Must(t))
	}
	for a := range seen {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
