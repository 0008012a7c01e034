package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rota-dev/rota/client"
)

// server is a `rota up` under measurement.
type server struct {
	cmd    *exec.Cmd
	client *client.Client
	booted time.Duration // from exec to ready
	dir    string
}

// start boots `rota up` with a data folder of its own and waits until it serves.
func (b *bench) start(ctx context.Context) (*server, error) {
	b.n++
	dir := filepath.Join(b.dir, "data"+strconv.Itoa(b.n))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	s := &server{dir: dir}
	s.cmd = exec.CommandContext(ctx, b.bin, "up", "--data", dir, "--listen", addr, "--name", "n1", "--log-level", "warn")
	s.cmd.Stderr = os.Stderr
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(began) > 30*time.Second {
			return nil, fmt.Errorf("the server is not ready after 30 s: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
	s.booted = time.Since(began)
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		return nil, err
	}
	s.client, err = client.New(client.Options{Server: "http://" + addr, Token: strings.TrimSpace(string(token))})
	return s, err
}

func (s *server) stop() error {
	s.client.Close()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = s.cmd.Wait() // ended by a signal
	return os.RemoveAll(s.dir)
}

// cpu is what the server and its guard have used, without the commands.
func (s *server) cpu() (time.Duration, error) { return cpuWithGuards(s.cmd.Process.Pid) }

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
