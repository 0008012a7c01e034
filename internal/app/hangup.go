package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onHangup deals with SIGHUP until the context that it returns ends: a server with a terminal stops in order, because
// its terminal is gone; one without reads its files again.
func onHangup(ctx context.Context, reload func()) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	attached := hasTerminal()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
			}
			if attached {
				cancel()
				return
			}
			reload()
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}
