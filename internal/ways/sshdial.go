package ways

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

// login is how a host is reached: whom it must be, and how we show who we are.
type login struct {
	host   *job.SSH
	conf   *ssh.ClientConfig
	closer func()
}

// login reads keys and secrets, before anything is dialled.
func (r *Runner) login(s *job.SSH, mask *secrets.Masker) (*login, error) {
	name := s.User
	if name == "" {
		u, err := user.Current()
		if err != nil {
			return nil, job.Errorf(job.CodeInvalid, "ssh.user: %w", err).WithHint("write ssh.user")
		}
		name = u.Username
	}
	check, err := hostKeys(s)
	if err != nil {
		return nil, err
	}
	l := &login{host: s, closer: func() {}}
	auth, err := r.authMethod(s, mask, l)
	if err != nil {
		return nil, err
	}
	l.conf = &ssh.ClientConfig{
		User: name, Auth: []ssh.AuthMethod{auth}, Timeout: dialTimeout, ClientVersion: "SSH-2.0-rota",
		HostKeyCallback: check.verify, HostKeyAlgorithms: check.algorithms(s.Address()),
	}
	return l, nil
}

func (r *Runner) authMethod(s *job.SSH, mask *secrets.Masker, l *login) (ssh.AuthMethod, error) {
	switch {
	case s.Agent:
		path := os.Getenv("SSH_AUTH_SOCK")
		if path == "" {
			return nil, job.Errorf(job.CodeInvalid, "ssh.agent: the node's agent has no ssh-agent").WithHint("start it with SSH_AUTH_SOCK set, or use key: {secret: NAME}")
		}
		conn, err := net.Dial("unix", path) //nolint:noctx,gosec // a local socket, which the owner of the agent chose
		if err != nil {
			return nil, job.Errorf(job.CodeUnavailable, "ssh.agent: %w", err)
		}
		l.closer = func() { conn.Close() }
		return ssh.PublicKeysCallback(agent.NewClient(conn).Signers), nil
	case s.Password != nil:
		password, err := r.Secrets.Read(s.Password.Secret)
		if err != nil {
			return nil, err
		}
		mask.Add(password)
		return ssh.RetryableAuthMethod(ssh.Password(password), 1), nil
	case s.Key != nil:
		key, err := r.Secrets.Read(s.Key.Secret)
		if err != nil {
			return nil, err
		}
		mask.Add(key)
		signer, err := ssh.ParsePrivateKey([]byte(key + "\n"))
		if err != nil {
			var locked *ssh.PassphraseMissingError
			if errors.As(err, &locked) {
				return nil, job.Errorf(job.CodeInvalid, "secret %s is a private key with a passphrase", s.Key.Secret).
					WithHint("take the passphrase off a copy (ssh-keygen -p), or use agent: true")
			}
			return nil, job.Errorf(job.CodeInvalid, "secret %s is no private key", s.Key.Secret).WithHint("it is the text of a file such as id_ed25519")
		}
		return ssh.PublicKeys(signer), nil
	}
	return nil, job.Errorf(job.CodeInvalid, "ssh says no way to log in").WithHint("write key: {secret: NAME}, password: {secret: NAME} or agent: true")
}

// known tells which keys a host may have. Whatever is not known is refused (ancestor 58).
type known struct {
	where string
	fixed []ssh.PublicKey
	files ssh.HostKeyCallback
}

func hostKeys(s *job.SSH) (*known, error) {
	if s.HostKey != "" {
		return fixedKeys(s.HostKey)
	}
	files := []string{s.KnownHosts}
	if s.KnownHosts == "" {
		files = []string{"/etc/ssh/ssh_known_hosts"}
		if home, err := os.UserHomeDir(); err == nil {
			files = append(files, filepath.Join(home, ".ssh", "known_hosts"))
		}
		files = slices.DeleteFunc(files, func(f string) bool {
			_, err := os.Stat(f)
			return err != nil
		})
		if len(files) == 0 {
			return nil, job.Errorf(job.CodeForbidden, "the key of host %s is not known: this node has no known_hosts", s.Host).WithHint("%s", keyHint(s))
		}
	}
	check, err := knownhosts.New(files...)
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "ssh.known_hosts: %w", err).WithHint("%s", keyHint(s))
	}
	return &known{where: strings.Join(files, " and "), files: check}, nil
}

func fixedKeys(text string) (*known, error) {
	k := &known{where: "ssh.host_key"}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(lines.Bytes())
		if err != nil {
			return nil, job.Errorf(job.CodeInvalid, "ssh.host_key: a line is no public key").WithHint("write it such as ssh-ed25519 AAAA…, without the host's name")
		}
		k.fixed = append(k.fixed, key)
	}
	if len(k.fixed) == 0 {
		return nil, job.Errorf(job.CodeInvalid, "ssh.host_key has no key in it")
	}
	return k, nil
}

func keyHint(s *job.SSH) string {
	port := ""
	if s.Port != 0 {
		port = fmt.Sprintf("-p %d ", s.Port)
	}
	return "compare the key that ssh-keyscan " + port + s.Host + " shows with the host's own, then put it into known_hosts, or into the task as host_key"
}

// verify is told the key that the host proved to have.
func (k *known) verify(address string, remote net.Addr, key ssh.PublicKey) error {
	if k.files == nil {
		for _, f := range k.fixed {
			if string(f.Marshal()) == string(key.Marshal()) {
				return nil
			}
		}
		return job.Errorf(job.CodeForbidden, "host %s shows a key that is not the one in ssh.host_key: %s %s", address, key.Type(), ssh.FingerprintSHA256(key)).
			WithHint("find out why it changed; somebody may stand in between")
	}
	err := k.files(address, remote, key)
	var e *knownhosts.KeyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && len(e.Want) == 0:
		return job.Errorf(job.CodeForbidden, "the key of host %s is not in %s: %s %s", address, k.where, key.Type(), ssh.FingerprintSHA256(key)).
			WithHint("compare it with the host's own key, and put it there")
	case errors.As(err, &e):
		return job.Errorf(job.CodeForbidden, "the key of host %s is not the one in %s line %d: %s %s", address, e.Want[0].Filename, e.Want[0].Line, key.Type(), ssh.FingerprintSHA256(key)).
			WithHint("find out why it changed; somebody may stand in between")
	}
	return job.Errorf(job.CodeForbidden, "the key of host %s is refused: %w", address, err)
}

// algorithms are those of the keys that are known, so that the host shows one of them; nil: any.
func (k *known) algorithms(address string) []string {
	keys := k.fixed
	if k.files != nil {
		var e *knownhosts.KeyError
		if errors.As(k.files(address, &net.TCPAddr{IP: net.IPv4zero}, noKey{}), &e) {
			for _, w := range e.Want {
				keys = append(keys, w.Key)
			}
		}
	}
	var list []string
	for _, key := range keys {
		if key.Type() == ssh.KeyAlgoRSA {
			list = append(list, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		}
		list = append(list, key.Type())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// noKey is a key that no host has: asked for it, a list of keys tells those that it has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// dial connects and logs in.
func (l *login) dial(ctx context.Context) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	address := l.host.Address()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, reasonOf(ctx, err))
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // the handshake knows no context
	c, chans, reqs, err := ssh.NewClientConn(conn, address, l.conf)
	if !stop() || err != nil {
		conn.Close()
		if err == nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("log in to %s as %s: %w", address, l.conf.User, reasonOf(ctx, err))
	}
	return ssh.NewClient(c, chans, reqs), nil
}

// reasonOf prefers the end of the context to what it brought about.
func reasonOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
