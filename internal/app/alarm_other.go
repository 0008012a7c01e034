//go:build !linux

package app

import "github.com/rota-dev/rota/internal/node"

func newAlarm() (node.Alarm, error) { return nil, nil } //nolint:nilnil // the node's own will do
