//go:build unix

package ways

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
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

	"golang.org/x/crypto/ssh"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// sshd is a server of OpenSSH on a port of its own.
type sshd struct {
	host    job.SSH
	hostKey string // as known_hosts has it
	key     string // of whom it lets in, in PEM
	dir     string
	given   givenHost
}

// givenHost is a server that somebody else started, for tests that run as a user whom OpenSSH lets in nowhere.
type givenHost struct {
	Host         job.SSH
	HostKey, Key string
}

const givenSSHD = "ROTA_TEST_SSHD"

// startSSHD starts a server with a throw-away configuration, which lets in whom the test runs as. Where OpenSSH is not installed
// the test fails, or is skipped where the environment has ROTA_TEST_NO_SSHD=1.
func startSSHD(t *testing.T, settings ...string) *sshd {
	t.Helper()
	if given := os.Getenv(givenSSHD); given != "" {
		s := &sshd{dir: t.TempDir()}
		if err := json.Unmarshal([]byte(given), &s.given); err != nil {
			t.Fatal(err)
		}
		s.host, s.hostKey, s.key = s.given.Host, s.given.HostKey, s.given.Key
		return s
	}
	bin, err := findSSHD()
	if err != nil {
		if os.Getenv("ROTA_TEST_NO_SSHD") == "1" {
			t.Skipf("%v; skipped, for ROTA_TEST_NO_SSHD is set", err)
		}
		t.Fatalf("%v: install it (apt-get install openssh-server), or set ROTA_TEST_NO_SSHD=1 to do without this test", err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{dir: t.TempDir()}
	hostPEM, hostPublic := newKey(t)
	clientPEM, clientPublic := newKey(t)
	s.key, s.hostKey = clientPEM, strings.TrimSpace(hostPublic)
	s.write(t, "host_key", hostPEM)
	s.write(t, "authorized_keys", clientPublic)
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := freePort(t)
	conf := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM no\nStrictModes no\n"+
		"PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nMaxStartups 100\n%s\n",
		p, filepath.Join(s.dir, "host_key"), filepath.Join(s.dir, "authorized_keys"), strings.Join(settings, "\n"))
	s.host = job.SSH{Host: "127.0.0.1", Port: p, User: me.Username, HostKey: s.hostKey}
	if err := s.start(t, bin, s.write(t, "sshd_config", conf)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sshd) start(t *testing.T, bin, conf string) error {
	cmd := exec.Command(bin, "-D", "-e", "-f", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var said bytes.Buffer
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "Server listening on") {
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				for lines.Scan() { // so that it never waits for us
				}
			}()
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				log.Close()
				<-drained
			})
			return nil
		}
	}
	return errors.Join(fmt.Errorf("sshd does not listen: %s", &said), cmd.Wait())
}

func findSSHD() (string, error) {
	for _, p := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd"} { // it wants to be called by its full path
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", errors.New("OpenSSH's server is not here")
}

func (s *sshd) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newKey is a private key in PEM, and its public half as authorized_keys has it.
func newKey(t *testing.T) (private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(p))
}

func freePort(t *testing.T) int {
	t.Helper()
	_, number, _ := net.SplitHostPort(port.Must(t))
	p, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// runner has the key that the server lets in.
func (s *sshd) runner(t *testing.T) *Runner {
	t.Helper()
	return newRunner(t, Options{Secrets: newSecrets(t, map[string]string{"deploy": s.key})})
}

// exec is an execution of a command on the server's host.
func (s *sshd) exec(argv ...string) job.Exec {
	host := s.host
	if host.Key == nil && !host.Agent && host.Password == nil {
		host.Key = &job.SecretRef{Secret: "deploy"}
	}
	return job.Exec{Way: &job.Way{SSH: &host}, Argv: argv}
}
