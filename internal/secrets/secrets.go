// Package secrets reads the secrets of a node, and keeps their values out of what others may read.
//
// A secret is a file of its name in a folder that nobody but the agent can read. Its value goes to the one connection that
// needs it: it is in no task, job, record, log line or command line.
package secrets

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rota-dev/rota/job"
)

// DefaultDir is where a node keeps its secrets if nothing else is said.
const DefaultDir = "/etc/rota/secrets"

// maxSecret is the most bytes that a secret may have.
const maxSecret = 64 << 10

// Dir is a folder of secrets; the zero value is DefaultDir. Each is read anew when it is needed, so that a change counts
// at once.
type Dir string

// Read is the value of a secret, without the line break that editors put at its end. The error of a missing one is
// [job.CodeNotFound] and says how to make it; where others can read the secret it is [job.CodeForbidden]. No error
// has the value in it.
func (d Dir) Read(name string) (string, error) {
	if err := job.CheckName("secret", name); err != nil {
		return "", err // ancestor 62: it is the name of a file
	}
	dir := string(d)
	if dir == "" {
		dir = DefaultDir
	}
	path := filepath.Join(dir, name)
	for _, p := range []string{dir, path} {
		if err := private(p); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", job.Errorf(job.CodeNotFound, "secret %s: %s does not exist on this node", name, p).
					WithHint("make it, as whom the agent runs: install -d -m 700 %s && install -m 600 /dev/stdin %s, or say where the secrets are with --secrets", dir, path)
			}
			return "", err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", job.Errorf(job.CodeForbidden, "secret %s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	value := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case err != nil:
		return "", job.Errorf(job.CodeUnavailable, "secret %s: %w", name, err)
	case len(b) > maxSecret:
		return "", job.Errorf(job.CodeInvalid, "secret %s: %s has more than %d bytes", name, path, maxSecret)
	case value == "":
		return "", job.Errorf(job.CodeInvalid, "secret %s: %s is empty", name, path).WithHint("write the secret into it")
	}
	return value, nil
}

// private refuses what others can read or change.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	mode := "600"
	if info.IsDir() {
		mode = "700"
	}
	if info.Mode().Perm()&0o077 != 0 {
		return job.Errorf(job.CodeForbidden, "others may read or change %s (its mode is %04o), so it keeps no secret", path, info.Mode().Perm()).
			WithHint("chmod %s %s, and change the secret if somebody may have seen it", mode, path)
	}
	if owner, ok := ownerOf(info); ok && owner != 0 && owner != os.Geteuid() {
		return job.Errorf(job.CodeForbidden, "%s belongs to another user (uid %d)", path, owner).WithHint("chown %d %s", os.Geteuid(), path)
	}
	return nil
}
