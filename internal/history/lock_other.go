//go:build !unix

package history

import "github.com/rota-dev/rota/job"

// fileLock needs flock, which this system does not have.
type fileLock struct{}

func lockFile(string) (*fileLock, error) {
	return nil, job.Errorf(job.CodeInvalid, "history in SQLite is not supported on this system").WithHint("use postgres://…")
}

func (l *fileLock) remember(string) error { return nil }
func (l *fileLock) check() error          { return nil }
func (l *fileLock) release()              {}
