//go:build linux

package runner

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rota-dev/rota/job"
)

const (
	// maxResultFile is how much of a result's file is looked at: lines of progress may be many.
	maxResultFile = 64 << 20
	// progressTail is how much of its end is looked at while the run is alive.
	progressTail = 8 << 10
	// maxMessage is how many bytes of a message are kept.
	maxMessage = 512
)

// openFile opens the file of the result, which may not exist. Its user may have put anything in its place: a link
// is not followed, and a pipe does not block.
func (x *execution) openFile() (*os.File, error) {
	fd, err := unix.Open(x.result, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, errors.New("ROTA_RESULT is a symbolic link")
	case err != nil:
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != x.acc.uid) {
		err = fmt.Errorf("ROTA_RESULT is not a file of user %s", x.acc.name)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), x.result), nil
}

// openResult opens the file of the result; nil where there is none, or none that can be taken. x.mu is held.
func (x *execution) openResult() *os.File {
	f, err := x.openFile()
	switch {
	case err == nil:
		return f
	case errors.Is(err, unix.ENOENT):
		return nil
	}
	x.ignore("%v", err)
	x.removeResult()
	return nil
}

// ignore says why there is no result although there was something.
func (x *execution) ignore(format string, args ...any) {
	x.exit.ResultError = fmt.Sprintf(format, args...)
	x.note("result ignored: %s", x.exit.ResultError)
}

// collect finds the result: in the file, if anything but progress was written there, else at the end of the stream that the task
// names. It is called when nothing else is going on in x.
func (x *execution) collect(f *os.File) {
	if f != nil {
		x.readResult(f)
	}
	if x.from == "" || x.exit.Result != nil || x.exit.ResultError != "" {
		return
	}
	b, err := x.said.Object()
	if err != nil {
		x.ignore("%s: %v", x.from, err)
		return
	}
	x.exit.Result = b
}

// readResult reads the result and removes its file.
func (x *execution) readResult(f *os.File) {
	defer x.removeResult()
	defer f.Close()
	rest, n, err := resultOf(f)
	switch {
	case err != nil:
		x.ignore("%v", err)
	case n > job.MaxResult:
		x.ignore("it has %d bytes, at most %d are kept", n, job.MaxResult)
	case len(rest) == 0:
	case !json.Valid(rest):
		x.ignore("what was written to ROTA_RESULT is not JSON")
	default:
		x.exit.Result = rest
	}
}

func (x *execution) removeResult() {
	err := os.RemoveAll(x.result)
	if err != nil {
		x.r.log.Warn("a result could not be removed", "path", x.result, "error", err)
	}
}

// resultOf reads what was written to ROTA_RESULT but for lines of progress: the text, a part of it where it is far too long, and
// how many bytes it had.
func resultOf(f io.Reader) (rest []byte, n int64, err error) {
	r := bufio.NewReaderSize(io.LimitReader(f, maxResultFile+1), 16<<10)
	var read int64
	begins := true // a line does
	for err == nil {
		var line []byte
		line, err = r.ReadSlice('\n')
		read += int64(len(line))
		whole := begins && !errors.Is(err, bufio.ErrBufferFull)
		begins = err == nil
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		if _, ok := parseProgress(line); whole && ok {
			continue
		}
		if n == 0 {
			line = bytes.TrimLeft(line, " \t\r\n")
		}
		n += int64(len(line))
		if room := 2*job.MaxResult - len(rest); room > 0 {
			rest = append(rest, line[:min(room, len(line))]...)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if read > maxResultFile {
		return nil, 0, fmt.Errorf("the file has more than %d bytes", maxResultFile)
	}
	if n == int64(len(rest)) { // else blanks at its end are the least of it
		rest = bytes.TrimSpace(rest)
		n = int64(len(rest))
	}
	return rest, n, nil
}

// parseProgress reads a line of progress: an object with a number from 0 to 1, perhaps a message, and nothing else.
func parseProgress(line []byte) (job.Progress, bool) {
	if line = bytes.TrimSpace(line); len(line) < 2 || line[0] != '{' || !bytes.Contains(line, []byte(`"progress"`)) {
		return job.Progress{}, false
	}
	var p struct {
		Progress *float64 `json:"progress"`
		Message  string   `json:"message"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&p) != nil || p.Progress == nil || math.IsNaN(*p.Progress) || *p.Progress < 0 || *p.Progress > 1 {
		return job.Progress{}, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return job.Progress{}, false
	}
	if len(p.Message) > maxMessage {
		p.Message = p.Message[:maxMessage-partialEnd([]byte(p.Message[:maxMessage]))]
	}
	return job.Progress{Progress: *p.Progress, Message: p.Message}, true
}

// news is the progress of an execution that somebody wants to know.
type news struct {
	to    chan job.Progress
	last  job.Progress
	size  int64
	mtime unix.Timespec
}

// Progress is looked for once a second from when the execution is a second old.
func (x *execution) Progress() <-chan job.Progress {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.news == nil {
		x.news = &news{to: make(chan job.Progress, 1)}
	}
	return x.news.to
}

// second is called each second of a run's life.
func (x *execution) second() {
	x.mu.Lock()
	x.publish()
	n := x.news
	x.mu.Unlock()
	if n != nil {
		x.look(n)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ended {
		x.tick.Reset(time.Second)
	}
}

// look tells of progress that is new. Only second calls it, never twice at a time.
func (x *execution) look(n *news) {
	var st unix.Stat_t
	if unix.Lstat(x.result, &st) != nil || st.Size == n.size && st.Mtim == n.mtime {
		return
	}
	f, err := x.openFile()
	if err != nil {
		return
	}
	defer f.Close()
	n.size, n.mtime = st.Size, st.Mtim
	buf := make([]byte, progressTail)
	m, err := f.ReadAt(buf, max(st.Size-progressTail, 0))
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	p, ok := lastProgress(buf[:m])
	if !ok || p == n.last {
		return
	}
	n.last = p
	p.Time = time.Now().UTC()
	select {
	case <-n.to: // nobody took the last one
	default:
	}
	n.to <- p
}

// lastProgress is the last line of progress in a text; what has no line break at its end may still be growing.
func lastProgress(text []byte) (job.Progress, bool) {
	end := bytes.LastIndexByte(text, '\n')
	for end >= 0 {
		begin := bytes.LastIndexByte(text[:end], '\n') + 1
		if p, ok := parseProgress(text[begin:end]); ok {
			return p, true
		}
		end = begin - 1
	}
	return job.Progress{}, false
}
