package app

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// apply applies tasks as soon as the server can.
func (s *Server) apply(ctx context.Context, tasks []job.Task) ([]master.Applied, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s.master.Apply(ctx, tasks, master.ApplyOptions{})
}

// ready waits until the master's view is whole and, where the server has a node, until that is part of it: what is
// applied then knows where it runs.
func (s *Server) ready(ctx context.Context) error {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for {
		err := s.master.Ready(ctx)
		if err == nil && s.agent != nil {
			_, err = s.master.Node(ctx, job.NodeID(s.cfg.Name))
		}
		if err == nil {
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
	fmt.Fprintf(w, "  token  %s\n", s.data.join("admin.token"))
	fmt.Fprintf(w, "  next   rota%s next\n", flags)
}
