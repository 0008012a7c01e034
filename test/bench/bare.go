package main

import (
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// workers is how many the bare loop has.
const workers = 4

// bare is the loop that the others are measured against: fork, exec, capture, wait, with as many workers.
func bare(n int) (time.Duration, error) {
	return many(n, func(int64) error {
		_, err := exec.Command("/bin/true").CombinedOutput()
		return err
	})
}

// many does something n times, numbered from 1, with as many workers as the bare loop.
func many(n int, once func(i int64) error) (time.Duration, error) {
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := once(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return time.Since(began), nil
	}
}
