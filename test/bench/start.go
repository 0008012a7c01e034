package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// starting measures how long it takes from the start of the program to serving, and what a client command takes.
func (b *bench) starting(ctx context.Context) ([]figure, error) {
	boot := figure{Key: "start/serving", What: "from start to serving (`rota up`, new data folder)", Unit: "ms", Goal: atMost(500)}
	command := figure{Key: "start/command", What: "a client command (`rota get tasks`)", Unit: "ms", Goal: atMost(50)}
	for range b.rounds {
		s, err := b.start(ctx)
		if err != nil {
			return nil, err
		}
		boot.Rounds = append(boot.Rounds, inMS(s.booted))
		began := time.Now()
		if out, err := exec.CommandContext(ctx, b.bin, "get", "tasks", "--server", s.client.Server(), "--data", s.dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("rota get tasks: %w: %s", err, out)
		}
		command.Rounds = append(command.Rounds, inMS(time.Since(began)))
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	return []figure{boot, command}, nil
}
