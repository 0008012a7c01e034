//go:build !linux

package app

import "os"

// inContainer tells whether the server's end is the end of everything around it.
func inContainer() bool { return os.Getpid() == 1 }

func asInit() (err error, ok bool) { return nil, false } //nolint:revive // the error is the answer
