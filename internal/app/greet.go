package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// apply applies tasks, once the server is ready.
func (s *Server) apply(ctx context.Context, docs job.Documents) ([]master.Applied, error) {
	return s.master.ApplyDocuments(ctx, docs, master.ApplyOptions{})
}

// Ready waits until the server can do what it is for: a master's view is whole, and a node has joined. Where there are
// both, the node is part of the view: what is applied then knows where it runs.
func (s *Server) Ready(ctx context.Context) error {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for {
		if s.isReady(ctx) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case failed := <-s.fatal:
			return failed
		case <-t.C:
		}
	}
}

func (s *Server) isReady(ctx context.Context) error {
	if s.agent != nil {
		if err := s.agent.Ready(); err != nil {
			return err
		}
	}
	if s.master == nil {
		return nil
	}
	err := s.master.Ready(ctx)
	if err == nil && s.agent != nil {
		_, err = s.master.Node(ctx, job.NodeID(s.cfg.Name))
	}
	return err
}

// greet says where everything is, and what to do next.
func (s *Server) greet(w io.Writer) {
	switch {
	case s.cfg.Role == RoleNode:
		fmt.Fprintf(w, "rota node %s is up; its data is in %s\n", s.cfg.Name, s.data.path)
		return
	case s.cfg.Role == RoleMaster:
		fmt.Fprintf(w, "rota master %s is up\n", s.master.ID)
	default:
		fmt.Fprintf(w, "rota is up, with node %s\n", s.cfg.Name)
	}
	flags := ""
	if s.URL() != "http://"+defaultListen {
		flags += " --server " + s.URL()
	}
	if s.data.path != defaultData() {
		flags += " --data " + s.data.path
	}
	fmt.Fprintf(w, "  API    %s/api/v1/ (OpenAPI: %s/openapi.json)\n", s.URL(), s.URL())
	fmt.Fprintf(w, "  data   %s\n", s.data.path)
	token := s.data.join("admin.token")
	if _, err := os.Stat(token); err != nil {
		token = "as the cluster's first master wrote it into its data folder"
		flags += " --token-file FILE"
	}
	fmt.Fprintf(w, "  token  %s\n", token)
	fmt.Fprintf(w, "  next   rota%s next\n", flags)
}
