//go:build !linux

package app

import "github.com/rota-dev/rota/job"

func hasInit() bool { return false }

func groupFacts(*job.Facts) {}
