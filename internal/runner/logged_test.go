//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/internal/runlog"
	"github.com/rota-dev/rota/job"
)

func openLogs(t *testing.T, o runlog.Options) *runlog.Dir {
	t.Helper()
	o.Dir = t.TempDir() + "/logs"
	d, err := runlog.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// whole reads a log to its end.
func whole(t *testing.T, d *runlog.Dir, run job.RunID) (list []job.Chunk, err error) {
	t.Helper()
	r, err := d.Reader(runlog.ID{Run: run, Attempt: 1}, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		c, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, c)
	}
}

func joined(list []job.Chunk, stream job.Stream) string {
	var b strings.Builder
	for _, c := range list {
		if stream == "" || c.Stream == stream {
			b.Write(c.Data)
		}
	}
	return b.String()
}

func TestAShortRunHasNoLog(t *testing.T) {
	d := openLogs(t, runlog.Options{})
	r := newRunner(t, Options{Logs: d})
	e := sh("echo out; echo err >&2")
	e.Run, e.Attempt = "short", 1
	if x := run(t, r, e); x.OutputBytes != 8 {
		t.Errorf("got %+v", x)
	}
	if _, err := whole(t, d, "short"); !job.IsNotFound(err) {
		t.Error(err)
	}
	if left, err := os.ReadDir(d.Path()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// ancestor 34: what did not fit was nowhere.
func TestWhatTheRecordDoesNotKeepIsInTheLog(t *testing.T) {
	d := openLogs(t, runlog.Options{})
	r := newRunner(t, Options{Logs: d})
	e := sh(`echo begin >&2; head -c 1000000 /dev/zero | tr '\0' x; printf 'a\000b\377\376\n'`)
	e.Run, e.Attempt = "long", 1
	x := run(t, r, e)
	want := strings.Repeat("x", 1000000) + "a\x00b\xff\xfe\n"
	if !x.OutputTruncated || x.OutputBytes != int64(len(want)+6) {
		t.Errorf("%d bytes, truncated %v", x.OutputBytes, x.OutputTruncated)
	}
	list, err := whole(t, d, "long")
	if err != nil || joined(list, job.Stdout) != want || joined(list, job.Stderr) != "begin\n" {
		t.Errorf("%d bytes in the log, %v", len(joined(list, "")), err)
	}
	at := int64(0)
	for _, c := range list {
		if c.Offset != at || c.Time.Before(x.Begin.Add(-time.Millisecond)) || c.Time.After(x.End) {
			t.Fatalf("chunk at %d, want %d, %s", c.Offset, at, c.Time)
		}
		at = c.End()
	}
}

func TestARunThatIsPublishedCanBeReadWhileItLives(t *testing.T) {
	d := openLogs(t, runlog.Options{})
	r := newRunner(t, Options{Logs: d})
	fifo := t.TempDir() + "/go"
	e := sh(`echo one; mkfifo $GO; read x <$GO; echo two`)
	e.Env, e.Run, e.Attempt = []string{"GO=" + fifo}, "followed", 1
	x := start(t, r, e)
	x.Publish()
	x.Publish()
	in, err := d.Reader(runlog.ID{Run: "followed", Attempt: 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if c, err := in.Next(ctx); err != nil || string(c.Data) != "one\n" {
		t.Fatalf("got %q, %v", c.Data, err)
	}
	var f *os.File
	for f == nil { // until the command has made it
		f, err = os.OpenFile(fifo, os.O_WRONLY, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if c, err := in.Next(ctx); err != nil || string(c.Data) != "two\n" || c.Offset != 4 {
		t.Fatalf("got %q at %d, %v", c.Data, c.Offset, err)
	}
	if _, err := in.Next(ctx); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if x := ended(t, x); string(x.Output) != "one\ntwo\n" {
		t.Errorf("got %+v", x)
	}
	x.Publish() // after the end it does nothing
}

func TestARunThatLastsHasALog(t *testing.T) {
	d := openLogs(t, runlog.Options{})
	r := newRunner(t, Options{Logs: d})
	e := sh(`echo one; sleep 1.1; echo two`)
	e.Run, e.Attempt = "lasting", 1
	run(t, r, e)
	if list, err := whole(t, d, "lasting"); err != nil || joined(list, "") != "one\ntwo\n" {
		t.Errorf("got %q, %v", joined(list, ""), err)
	}
}

// A log that can't be written costs the run nothing.
func TestARunWithoutAPlaceForItsLogGoesOn(t *testing.T) {
	d := openLogs(t, runlog.Options{})
	r := newRunner(t, Options{Logs: d})
	if err := os.RemoveAll(d.Path()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Path(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []job.RunID{"good", "../../evil"} { // ancestor 62
		e := sh(`head -c 300000 /dev/zero; echo end`)
		e.Run, e.Attempt = id, 1
		if x := run(t, r, e); x.Outcome != job.Success || x.OutputBytes != 300004 {
			t.Errorf("%s: got %+v", id, x)
		}
	}
}

// ancestor 33: endless output filled the memory. Two seconds of it stay within the limits of memory and disk, and are counted.
func TestEndlessOutputIsBoundedInMemoryAndOnDisk(t *testing.T) {
	const limit = 4 << 20
	d := openLogs(t, runlog.Options{PerRun: limit})
	r := newRunner(t, Options{Logs: d})
	before := rss(t)
	e := sh("yes & yes abc >&2 & wait")
	e.Timeout, e.Run, e.Attempt = 2*time.Second, "endless", 1
	x := start(t, r, e)
	most, disk := int64(0), int64(0)
	for alive := true; alive; {
		select {
		case <-x.Done():
			alive = false
		case <-time.After(50 * time.Millisecond):
		}
		most, disk = max(most, rss(t)-before), max(disk, usage(d.Path()))
	}
	got := ended(t, x)
	if got.OutputBytes < 8<<20 || !got.OutputTruncated || len(got.OutputParts) > job.MaxOutputParts {
		t.Errorf("%d bytes, %d parts", got.OutputBytes, len(got.OutputParts))
	}
	if most > 20<<20 {
		t.Errorf("it took %d KiB of memory", most>>10)
	}
	// While the segments are looked at one after the other, the last one grows and the first one goes.
	if disk > limit+limit/8+64<<10 || disk < limit/2 {
		t.Errorf("it took %d KiB of disk", disk>>10)
	}
	list, err := whole(t, d, "endless")
	if err != nil || len(list) == 0 || list[len(list)-1].End() != got.OutputBytes {
		t.Fatalf("%d chunks, %v", len(list), err)
	}
	for i := range list[1:] {
		if list[i+1].Offset != list[i].End() {
			t.Fatalf("a hole at %d", list[i].End())
		}
	}
}

func rss(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func usage(path string) (n int64) {
	_ = filepath.Walk(path, func(_ string, info fs.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			n += info.Size()
		}
		return nil
	})
	return n
}

// Where the disk is slower than the run, the run waits, and nothing is lost.
func TestARunThatIsAheadOfTheDiskWaits(t *testing.T) {
	d := openLogs(t, runlog.Options{PerRun: 64 << 20})
	r := newRunner(t, Options{Logs: d})
	e := sh("head -c 30000000 /dev/zero & head -c 3000000 /dev/zero >&2 & wait")
	e.Run, e.Attempt = "fast", 1
	x := run(t, r, e)
	list, err := whole(t, d, "fast")
	if err != nil || len(joined(list, job.Stdout)) != 30000000 || len(joined(list, job.Stderr)) != 3000000 || x.OutputBytes != 33000000 {
		t.Errorf("%d and %d bytes of %d, %v", len(joined(list, job.Stdout)), len(joined(list, job.Stderr)), x.OutputBytes, err)
	}
}

func TestPausedPipesAreReadAgain(t *testing.T) {
	d := openLogs(t, runlog.Options{})
	r := newRunner(t, Options{Logs: d})
	e := sh("sleep 0.2; seq 1 100000; sleep 0.1; echo end >&2")
	e.Run, e.Attempt = "paused", 1
	x := start(t, r, e).(*execution)
	x.mu.Lock() // as if the disk had been behind
	for i := range x.outs {
		s := &x.outs[i]
		s.paused = true
		r.loop.pause(s.fd)
	}
	x.mu.Unlock()
	for i := range x.outs {
		x.outs[i].resume()
		x.outs[i].resume()
	}
	if got := ended(t, x); !strings.HasSuffix(string(got.Output), "100000\nend\n") {
		t.Errorf("got %d bytes", got.OutputBytes)
	}
}

// Whatever the pieces are: the parts of a record say of each kept byte what is true of it, and are never too many.
func TestPartsStayTrueAndFew(t *testing.T) {
	base := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		gap    time.Duration
		size   int
		n      int
		limit  int
		single bool // one stream only
	}{
		"few":                    {time.Second, 10, 20, 64 << 10, false},
		"many, of one stream":    {50 * time.Millisecond, 3, 5000, 64 << 10, true},
		"many, alternating":      {50 * time.Millisecond, 3, 5000, 64 << 10, false},
		"more than is kept":      {time.Second, 1000, 5000, 64 << 10, false},
		"more than a tiny limit": {time.Second, 7, 5000, 64, false},
	} {
		o := output{half: c.limit / 2}
		var all []byte
		for i := range c.n {
			stream := job.Stdout
			if !c.single && i%2 == 1 {
				stream = job.Stderr
			}
			p := []byte(strings.Repeat(string(stream[3]), c.size)) // o or e
			all = append(all, p...)
			o.write(stream, base.Add(time.Duration(i)*c.gap), p)
		}
		kept, parts, truncated := o.result()
		if len(parts) > job.MaxOutputParts || truncated != (len(all) > c.limit) {
			t.Errorf("%s: %d parts, truncated %v", name, len(parts), truncated)
		}
		rec := job.ExecutionRecord{Output: string(kept), OutputParts: parts}
		pieces, merged := 0, 0
		for i, p := range rec.Pieces() {
			merged += p.Merged
			pieces++
			if i > 0 && !p.Time.IsZero() && !parts[i-1].Time.IsZero() && p.Time.Before(parts[i-1].Time) {
				t.Fatalf("%s: times go back at %d", name, p.At)
			}
			wrong := map[job.Stream]string{job.Stdout: "e", job.Stderr: "o"}[p.Stream]
			if wrong != "" && strings.Contains(p.Text, wrong) {
				t.Fatalf("%s: %q is of another stream than %s", name, p.Text, p.Stream)
			}
		}
		if !truncated && pieces+merged != c.n {
			t.Errorf("%s: %d pieces and %d merged, of %d", name, pieces, merged, c.n)
		}
		if name == "few" && pieces != c.n {
			t.Errorf("%s: %d pieces", name, pieces)
		}
	}
}

func BenchmarkParts(b *testing.B) {
	o := output{half: 32 << 10}
	now := time.Now()
	line := []byte(fmt.Sprintln("a line of output"))
	for i := 0; b.Loop(); i++ {
		o.write(job.Streams[i%2], now.Add(time.Duration(i)*time.Millisecond), line)
	}
}
