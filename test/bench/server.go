package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/port"
)

// server is a process of Rota under measurement.
type server struct {
	cmd    *exec.Cmd
	client *client.Client // of a master
	booted time.Duration  // from exec to ready
	addr   string         // of its API, or of a node's /readyz
	dir    string         // its data folder
	args   []string
	log    *os.File
}

// folder is a new data folder.
func (b *bench) folder() string {
	b.n++
	return filepath.Join(b.dir, "data"+strconv.Itoa(b.n))
}

// start boots `rota up` with a data folder of its own and waits until it serves.
func (b *bench) start(ctx context.Context, args ...string) (*server, error) {
	return b.boot(ctx, b.folder(), append([]string{"up", "--name", "n1"}, args...)...)
}

// boot starts a server in a data folder and waits until it is ready. One with a token is given a client.
func (b *bench) boot(ctx context.Context, dir string, args ...string) (*server, error) {
	addr, err := port.Free()
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, addr: addr, args: append(args, "--data", dir, "--listen", addr, "--log-level", "warn")}
	if s.log, err = os.CreateTemp(b.dir, "log"); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, b.bin, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := await(ctx, time.Millisecond, 2*time.Minute, "the server is ready", func() (bool, error) {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	}); err != nil {
		text, _ := os.ReadFile(s.log.Name())
		return nil, fmt.Errorf("rota %s: %w\n%s", strings.Join(s.args, " "), err, text)
	}
	s.booted = time.Since(began)
	if args[0] == "node" {
		return s, nil
	}
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		return nil, err
	}
	s.client, err = client.New(client.Options{Server: "http://" + addr, Token: strings.TrimSpace(string(token))})
	return s, err
}

// end asks the server to end, and waits. Its data folder stays.
func (s *server) end() error {
	if s.client != nil {
		s.client.Close()
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = s.cmd.Wait() // ended by a signal
	return s.log.Close()
}

// stop ends the server and removes its data.
func (s *server) stop() error {
	if err := s.end(); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// await looks every so often whether something holds.
func await(ctx context.Context, every, within time.Duration, what string, holds func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for began := time.Now(); ; {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		if time.Since(began) > within {
			return fmt.Errorf("not within %s: %s", within, what)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pause lets some time pass.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// apply applies tasks, all in one request.
func (s *server) apply(ctx context.Context, tasks []job.Task) error {
	_, err := s.client.Apply(ctx, tasks, client.ApplyOptions{})
	return err
}

// placed waits until a task has a job on a node.
func (s *server) placed(ctx context.Context, ref job.TaskRef) error {
	return await(ctx, 50*time.Millisecond, 5*time.Minute, ref.String()+" is placed", func() (bool, error) {
		list, err := s.client.Jobs(ctx, client.JobFilter{Group: ref.Group, Task: ref.Name})
		return len(list) > 0, err
	})
}

// counts are the outcomes of all records that match.
func (s *server) counts(ctx context.Context, f job.StatsFilter) (map[job.Outcome]int64, error) {
	list, err := s.client.Stats(ctx, f)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0].Count, nil
}

// cpu is what the server and its guard have used, without the commands.
func (s *server) cpu() (time.Duration, error) { return cpuWithGuards(s.cmd.Process.Pid) }

// memory is the server's resident memory in MiB: all of it, and without the files that it has mapped.
func (s *server) memory() (all, own float64, err error) {
	status := fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)
	for name, to := range map[string]*float64{"VmRSS": &all, "RssAnon": &own} {
		if _, err := fmt.Sscan(field(status, name, ""), to); err != nil {
			return 0, 0, fmt.Errorf("%s of %s: %w", name, status, err)
		}
		*to /= 1024
	}
	return all, own, nil
}

// cpuWithGuards is what a process and the guards that it started have used.
func cpuWithGuards(pid int) (time.Duration, error) {
	sum, err := cpuOf(pid)
	if err != nil {
		return 0, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				continue
			}
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
			if err != nil || !strings.HasPrefix(string(line), "rota guard") && !strings.HasSuffix(string(line), "\x00guard\x00") && !strings.HasPrefix(string(line), "guard\x00") {
				continue
			}
			more, err := cpuOf(child)
			if err != nil {
				continue
			}
			sum += more
		}
	}
	return sum, nil
}

func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	var ticks int64
	for _, i := range []int{11, 12} { // utime, stime
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
