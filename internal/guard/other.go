//go:build !linux

package guard

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/rota-dev/rota/job"
)

// Client does not exist here: runs are Linux's.
type Client struct{}

var errSystem = errors.New("runs are executed on Linux only, and this is " + runtime.GOOS + "; run the node on Linux")

// New always fails.
func New(Options) (*Client, error) { return nil, errSystem }

// Start always fails.
func (*Client) Start(context.Context, job.Exec) (job.Execution, error) { return nil, errSystem }

// Hold does nothing.
func (*Client) Hold(time.Duration) {}

// Adopt finds nothing.
func (*Client) Adopt(context.Context) ([]job.Adopted, error) { return nil, nil }

// Close does nothing.
func (*Client) Close() error { return nil }

// Asked is never so.
func Asked() (dir string, ok bool) { return "", false }

// Main always fails.
func Main(string) error { return errSystem }
