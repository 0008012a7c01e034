//go:build linux

package soak

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/harness"
)

// planted is how many of each are left behind on purpose: more than what is spare.
const planted = 3 * spare

// plant leaves something of each kind behind, one kind after the other: what judges the rest must see each of them, or it would not see a
// leak of Rota's own.
func (cl *cluster) plant(before sample) {
	t := cl.t
	t.Helper()
	ctx := t.Context()
	run := func(name, line string) (undo func()) {
		task := job.Task{Name: name, Command: job.Line(line)}
		if _, err := cl.c.Apply(ctx, []job.Task{task}, client.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		var runs []client.RunHandle
		harness.Eventually(t, time.Minute, name+" is asked for", func() error { // its jobs come a moment later
			a, err := cl.c.Run(ctx, client.RunRequest{Task: task.Ref(), Nodes: []job.NodeID{"n1"}})
			if err == nil {
				runs = a.Runs
			}
			return err
		})
		return func() {
			for _, r := range runs {
				if err := cl.c.Kill(ctx, r.Run); err != nil {
					t.Error(err)
				}
				if _, err := cl.c.WaitRun(ctx, r.Run); err != nil {
					t.Error(err)
				}
			}
			if err := cl.c.DeleteTask(ctx, task.Ref(), 0, false); err != nil {
				t.Error(err)
			}
		}
	}
	streams := func() (undo func()) { // each is a connection, and goroutines that serve it
		var open []io.Closer
		for range planted {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, cl.all[1].metrics+"/api/v1/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+cl.token)
			resp, err := (&http.Transport{}).RoundTrip(req) //nolint:bodyclose // it is, when they are dug up
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", resp, err)
			}
			open = append(open, resp.Body)
		}
		return func() {
			for _, r := range open {
				r.Close()
			}
		}
	}
	for _, c := range []struct {
		name  string // of the figure that tells
		plant func() (undo func())
	}{
		{"master descriptors", streams},
		{"master goroutines", streams},
		{"etcd leases", func() func() {
			var undo []func()
			for range planted {
				l, err := cl.etcd.Grant(ctx, 600)
				if err != nil {
					t.Fatal(err)
				}
				undo = append(undo, func() {
					if _, err := cl.etcd.Revoke(ctx, l.ID); err != nil {
						t.Error(err)
					}
				})
			}
			return func() {
				for _, f := range undo {
					f()
				}
			}
		}},
		{"etcd keys", func() func() {
			key := func(i int) string { return fmt.Sprintf("/rota/planted/%d", i) }
			for i := range planted {
				if _, err := cl.etcd.Put(ctx, key(i), "x"); err != nil {
					t.Fatal(err)
				}
			}
			return func() {
				for i := range planted {
					if _, err := cl.etcd.Delete(ctx, key(i)); err != nil {
						t.Error(err)
					}
				}
			}
		}},
		{"temporary files", func() func() {
			dir := filepath.Join(cl.tmp, "planted")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for i := range planted {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			}
		}},
		{"processes", func() func() { return run("planted-process", "exec sleep 6000") }},
		{"zombies", func() func() { return run("planted-zombie", "true & exec sleep 6000") }}, // which is no shell, and waits for no child
		{"groups", cl.plantGroups},
	} {
		end := c.plant()
		if end == nil {
			continue
		}
		harness.Eventually(t, time.Minute, "what was planted among "+c.name+" is seen", func() error {
			now, err := cl.take()
			if err != nil {
				return err
			}
			switch err := excess(now, before); {
			case err == nil:
				return errors.New("nothing is seen")
			case !strings.Contains(err.Error(), c.name+": "):
				return fmt.Errorf("seen is only: %w", err)
			}
			return nil
		})
		end()
		cl.rest(before)
	}
}

// plantGroups makes control groups in that of a node; nil where nodes have none here.
func (cl *cluster) plantGroups() (undo func()) {
	var roots []int
	for _, m := range cl.all {
		roots = append(roots, m.Pid())
		roots = append(roots, harness.Guards(m.data)...)
	}
	trees := groupsOf(roots)
	if len(trees) == 0 {
		return nil
	}
	var made []string
	for i := range planted {
		dir := filepath.Join(trees[0], fmt.Sprintf("planted-%d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			cl.t.Fatal(err)
		}
		made = append(made, dir)
	}
	return func() {
		for _, dir := range made {
			if err := os.Remove(dir); err != nil {
				cl.t.Error(err)
			}
		}
	}
}
