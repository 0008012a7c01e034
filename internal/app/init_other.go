//go:build !linux

package app

// asInit does nothing here: a node runs jobs on Linux only.
func asInit() (err error, ok bool) { return nil, false } //nolint:revive // the error is the answer
