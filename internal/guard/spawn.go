//go:build linux

package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// address is the socket in a guard's folder by a path that is short however deep the folder lies (a socket's may have 107
// bytes). It holds until the folder is closed.
func address(folder *os.File) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), socketName)}
}

// spawn starts a guard in a folder of its own. It is ready to be connected to at once: its socket is made here. over is called when
// its process has ended.
func (c *Client) spawn(over func(state string)) (_ string, err error) {
	dir := filepath.Join(c.o.Dir, strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	b, err := json.Marshal(config{Build: c.o.Build, Runner: c.o.Runner})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, configName), b, 0o600); err != nil {
		return "", err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = folder.Close() }()
	l, err := net.ListenUnix("unix", address(folder))
	if err != nil {
		return "", err
	}
	l.SetUnlinkOnClose(false)
	defer func() { _ = l.Close() }()
	socket, err := l.File()
	if err != nil {
		return "", err
	}
	defer func() { _ = socket.Close() }()
	// The guard's first words, and a panic, go where its log goes.
	log, err := openLog(filepath.Join(c.o.Dir, logName))
	if err != nil {
		return "", err
	}
	defer func() { _ = log.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", err
	}
	defer func() { _ = null.Close() }()
	env := []string{marker + "=" + dir}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR"} { // never the whole environment: it may hold secrets
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	p, err := os.StartProcess(c.o.Program, c.o.Args, &os.ProcAttr{
		Dir: "/", Env: env, Files: []*os.File{null, log.File, log.File, socket},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return "", fmt.Errorf("execute %s: %w", c.o.Program, err)
	}
	c.children.Go(func() {
		state, err := p.Wait()
		switch {
		case errors.Is(err, unix.ECHILD):
			over("ended") // a process that reaps for everybody was quicker
		case err != nil:
			over(err.Error())
		default:
			over(state.String())
		}
	})
	return dir, nil
}

// dial connects to the guard of a folder.
func dial(dir string) (*net.UnixConn, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	c, err := net.DialUnix("unix", nil, address(folder))
	if err != nil {
		return nil, err
	}
	if err := samePeer(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}
