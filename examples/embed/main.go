// Command embed is a program with a scheduler in it: a whole server, and a task that runs one of the program's own functions.
//
//	go run ./examples/embed
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/rota-dev/rota"
	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
)

// tasks would be a file of their own in a larger program.
const tasks = `
tasks:
  - name: cleanup
    timer: "@hourly"
    kind: interval        # one node of all that have the handler
    handler: cleanup
    input: {dir: /tmp, days: 7}
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// cleanup counts the files of a folder that nobody has changed for some days.
func cleanup(ctx context.Context, run *rota.Run) error {
	var in struct {
		Dir  string
		Days int
	}
	if err := run.Bind(&in); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(in.Dir, "*"))
	if err != nil {
		return err
	}
	old := 0
	for i, f := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if info, err := os.Stat(f); err == nil && time.Since(info.ModTime()) > time.Duration(in.Days)*24*time.Hour {
			fmt.Fprintln(run.Output, f)
			old++
		}
		run.Progress(float64(i+1)/float64(len(files)), f)
	}
	return run.SetResult(map[string]int{"old": old, "seen": len(files)})
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "embed-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	server := rota.NewServer(rota.ServerOptions{
		NodeOptions: rota.NodeOptions{Name: "here", Dir: dir}, Listen: "127.0.0.1:0",
	})
	server.Handle("cleanup", cleanup)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-server.Ready():
	}
	err = ask(ctx, server)
	stop() // or let it go on: it fires by itself
	return errors.Join(err, <-ended)
}

// ask applies the task and runs it now, as any client could.
func ask(ctx context.Context, server *rota.Server) error {
	api, err := server.Client()
	if err != nil {
		return err
	}
	defer api.Close()
	if _, err := api.ApplyFile(ctx, "tasks.yaml", []byte(tasks), client.ApplyOptions{}); err != nil {
		return err
	}
	answer, err := api.Run(ctx, client.RunRequest{Task: job.Ref("", "cleanup")})
	if err != nil {
		return err
	}
	view, err := api.WaitRun(ctx, answer.Runs[0].Run)
	if err != nil {
		return err
	}
	fmt.Printf("cleanup: %s %s\n", view.Record.Outcome, view.Record.Result)
	return nil
}
