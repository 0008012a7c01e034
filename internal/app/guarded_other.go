//go:build !linux

package app

func hasInit() bool { return false }
