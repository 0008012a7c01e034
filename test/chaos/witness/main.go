//go:build linux

// Command witness is what the jobs of the tests of package chaos execute. It writes into a journal that it began, that it is alive, and that it
// ended, each line with one write that is on the disk before anything follows. So a judgement needs to believe nobody else.
//
//	witness JOURNAL LOCKS PAUSE [deaf]
//
// While it lives it holds the file of its task in the folder LOCKS, if the task is exclusive: its name begins with "alone". Where another process holds that, two runs
// overlap, and it says so. With deaf it does not hear SIGTERM.
package main

import (
	"cmp"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(3)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("three arguments are needed, and there are %d", len(args))
	}
	pause, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	if len(args) > 3 {
		signal.Ignore(syscall.SIGTERM)
	}
	j, err := os.OpenFile(args[0], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	// What it says is told by the clock that all processes of a machine share, and that nobody sets.
	say := func(what string) error {
		var mono unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
			return err
		}
		instant, fence := cmp.Or(os.Getenv("ROTA_INSTANT"), "-"), cmp.Or(os.Getenv("ROTA_FENCE"), "0")
		_, err := fmt.Fprintf(j, "%s %s %s %s %s %s %d %d\n", what, os.Getenv("ROTA_TASK"), instant, os.Getenv("ROTA_NODE"), os.Getenv("ROTA_RUN"),
			fence, mono.Nano(), time.Now().UnixNano())
		if err == nil && what != "alive" {
			err = j.Sync()
		}
		return err
	}
	if task := os.Getenv("ROTA_TASK"); strings.HasPrefix(task, "alone") {
		held, err := os.OpenFile(filepath.Join(args[1], task), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			if err := say("overlap"); err != nil {
				return err
			}
		}
		defer held.Close()
	}
	if err := say("begin"); err != nil {
		return err
	}
	for end := time.Now().Add(pause); ; { // its own monotonic clock: nobody sets that either
		left := time.Until(end)
		if left <= 0 {
			return say("end")
		}
		time.Sleep(min(left, 20*time.Millisecond))
		if err := say("alive"); err != nil {
			return err
		}
	}
}
