package ways

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rota-dev/rota/internal/secrets"
	"github.com/rota-dev/rota/job"
)

// lastWord is how long a command is waited for whose SIGKILL was sent, and for the last output of one that has ended
// while another process goes on writing.
const lastWord = 5 * time.Second

func (r *Runner) startSSH(e job.Exec) (job.Execution, error) {
	if len(e.Argv) == 0 {
		return nil, job.Errorf(job.CodeInvalid, "there is no command for host %s", e.Way.SSH.Host)
	}
	mask := &secrets.Masker{}
	mark := "rota-" + rand.Text()
	line, err := remoteLine(mark, &e)
	if err != nil {
		return nil, err
	}
	l, err := r.login(e.Way.SSH, mask)
	if err != nil {
		return nil, err
	}
	return r.begin(e, mask, func(x *execution) job.Exit {
		defer l.closer()
		return x.remote(l, mark, line)
	}), nil
}

// remote runs a command on another host.
func (x *execution) remote(l *login, mark, line string) job.Exit {
	client, err := l.dial(x.ctx)
	if err != nil {
		return failed("%s", reason(err))
	}
	defer client.Close()
	var said lastObject
	c, err := open(client, x, mark, line, &said)
	if err != nil {
		return failed("start a command on %s: %s", l.host.Host, reason(err))
	}
	select {
	case <-c.ended:
	case <-x.ctx.Done():
		if left := x.endRemote(l, client, c); left != "" {
			return job.Exit{Outcome: x.outcome(), Reason: left}
		}
	}
	exit := c.exit(l.host.Host)
	if from := x.exec.ResultFrom; from != "" && exit.Outcome != job.Lost {
		if exit.Result, err = said.object(); err != nil {
			exit.ResultError = fmt.Sprintf("%s: %v", from, err)
		}
	}
	return exit
}

// lastObject may be asked while a host that does not answer any more still writes.
type lastObject struct {
	mu   sync.Mutex
	said job.LastObject
}

func (l *lastObject) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

func (l *lastObject) object() (json.RawMessage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Object()
}

// endRemote ends the command: SIGTERM, grace, SIGKILL, by another session. It says what may be left.
func (x *execution) endRemote(l *login, client *ssh.Client, c *remoteCommand) string {
	// Without the process's number there is nobody to send a signal to; it is the first thing that the command says.
	x.grace(x.exec.Grace, either(c.reported, c.ended))
	for i, signal := range []string{"TERM", "KILL"} {
		wait := x.exec.Grace
		if i > 0 {
			wait = lastWord
		}
		err := sendSignal(l, client, signal, int(c.pid.Load()))
		if i == 0 && x.grace(wait, c.ended) || i > 0 && within(lastWord, c.ended) {
			return ""
		}
		if i > 0 && err != nil {
			return fmt.Sprintf("the command could not be ended on %s, and may go on: %s", l.host.Host, reason(err))
		}
	}
	return fmt.Sprintf("the command was sent SIGKILL on %s, but its end was not seen", l.host.Host)
}

func either(a, b <-chan struct{}) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		select {
		case <-a:
		case <-b:
		}
	}()
	return c
}

// within waits for something; false: it did not come.
func within(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// sendSignal uses the connection that is there, or another where that is gone or allows no second session.
func sendSignal(l *login, client *ssh.Client, signal string, pid int) error {
	if pid <= 1 {
		return errors.New("its process did not report itself")
	}
	err := runQuickly(client, killLine(signal, pid))
	var exit *ssh.ExitError
	if err == nil || errors.As(err, &exit) { // it has ended meanwhile
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWord)
	defer cancel()
	other, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	return runQuickly(other, killLine(signal, pid))
}

// runQuickly runs what is over at once, and closes the connection where it is not.
func runQuickly(client *ssh.Client, line string) error {
	stop := time.AfterFunc(lastWord, func() { client.Close() })
	defer stop.Stop()
	s, err := client.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Run(line)
}

// remoteCommand is a command on another host, alive or ended. What follows ended is for whoever saw that closed.
type remoteCommand struct {
	client   *ssh.Client
	channel  ssh.Channel
	pid      atomic.Int64
	reported chan struct{} // closed when pid is known
	ended    chan struct{} // closed when the command has ended and its output is complete

	bytes  atomic.Int64 // of output so far
	status *uint32
	signal string
	err    error // of the connection, where it ended before the command did
}

// open starts the command. said is told what comes on the stream of the result; it is read when the command has ended.
func open(client *ssh.Client, x *execution, mark, line string, said io.Writer) (*remoteCommand, error) {
	channel, requests, err := client.OpenChannel("session", nil)
	if err != nil {
		return nil, err
	}
	c := &remoteCommand{client: client, channel: channel, reported: make(chan struct{}), ended: make(chan struct{})}
	ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	if err == nil && !ok {
		err = errors.New("the host refuses to run commands")
	}
	if err != nil {
		channel.Close()
		return nil, err
	}
	go func() {
		_, _ = io.Copy(channel, bytes.NewReader(x.exec.Stdin)) // a command need not read it
		_ = channel.CloseWrite()
	}()
	var streams sync.WaitGroup
	to := func(s job.Stream) io.Writer {
		if s == x.exec.ResultFrom {
			return io.MultiWriter(x.out.stream(s), said)
		}
		return x.out.stream(s)
	}
	stdout, stderr := x.mask.Writer(to(job.Stdout)), x.mask.Writer(to(job.Stderr))
	streams.Go(func() { c.copy(stdout, channel) })
	streams.Go(func() {
		rest := c.awaitReport(mark, stderr, channel.Stderr())
		c.copy(stderr, rest)
	})
	over := make(chan struct{})
	go func() {
		streams.Wait()
		_, _ = stdout.Flush(), stderr.Flush()
		close(over)
	}()
	go c.watch(requests, over)
	return c, nil
}

// copy reads a stream to its end.
func (c *remoteCommand) copy(to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		c.bytes.Add(int64(n))
		_, _ = to.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

// awaitReport reads the line by which the command reports its process. What a shell's own files say before it is output.
func (c *remoteCommand) awaitReport(mark string, to io.Writer, from io.Reader) io.Reader {
	const most = 64 << 10
	var seen []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		seen = append(seen, buf[:n]...)
		if at := bytes.Index(seen, []byte(mark+" ")); at >= 0 {
			word, rest, whole := bytes.Cut(seen[at+len(mark)+1:], []byte("\n"))
			if whole {
				if pid, bad := strconv.Atoi(string(word)); bad == nil && pid > 1 {
					c.pid.Store(int64(pid))
					close(c.reported)
				}
				_, _ = to.Write(seen[:at])
				return io.MultiReader(bytes.NewReader(rest), from)
			}
		}
		if err != nil || len(seen) > most {
			_, _ = to.Write(seen)
			return from
		}
	}
}

// watch waits for the end: the exit status, and after it the rest of the output. A process that was left behind and holds the
// output open is not waited for: when the host has answered and nothing came before the answer, what the command
// had written is here.
func (c *remoteCommand) watch(requests <-chan *ssh.Request, over <-chan struct{}) {
	defer close(c.ended)
	for r := range requests {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil {
				c.status = &m.Status
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Error      string
				Lang       string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil {
				c.signal = m.Signal
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
		if c.status != nil || c.signal != "" {
			c.settle(over)
			c.channel.Close()
			go ssh.DiscardRequests(requests)
			within(lastWord, over)
			return
		}
	}
	<-over
	if c.err = c.client.Wait(); c.err == nil {
		c.err = io.ErrUnexpectedEOF
	}
}

// settle waits until the output is over, or nothing came of it while the host answered twice: once may be an answer that overtook, here,
// the bytes before it.
func (c *remoteCommand) settle(over <-chan struct{}) {
	limit := time.NewTimer(lastWord)
	defer limit.Stop()
	for quiet := 0; quiet < 2; {
		before := c.bytes.Load()
		answered := make(chan error, 1)
		go func() {
			_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		select {
		case <-over:
			return
		case err := <-answered:
			if err != nil {
				return
			}
			if quiet++; c.bytes.Load() != before {
				quiet = 0
			}
		case <-limit.C:
			return
		}
	}
}

// exit is how the command ended.
func (c *remoteCommand) exit(host string) job.Exit {
	switch {
	case c.signal != "":
		x := failed("ended by signal SIG%s on %s", c.signal, host)
		x.Signal, x.EndedBy = "SIG"+c.signal, job.EndedBySignal
		return x
	case c.status == nil:
		return job.Exit{
			Outcome: job.Lost, EndedBy: job.EndedByLoss,
			Reason: fmt.Sprintf("the connection to %s ended before the command did, which may go on: %v", host, c.err),
		}
	}
	code := int(*c.status)
	x := job.Exit{Outcome: job.Success, EndedBy: job.EndedByExit}
	if code != 0 {
		x = failed("exit status %d on %s", code, host)
	}
	x.ExitCode = &code
	return x
}
