// Command rota is a distributed cron: its servers and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/rota-dev/rota/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := app.Main(ctx, os.Args[1:], app.OSStdio())
	stop()
	os.Exit(code)
}
