//go:build linux

package runner

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/test/seed"
)

var _ = seed.Fix()

// What is written after something else was read comes in the order of writing, each piece with its stream and its time.
func TestStreamsAreToldApartInOrderAndWithTimes(t *testing.T) {
	r := newRunner(t, Options{})
	dir := t.TempDir()
	var read [6]time.Time // when each piece was known to be read, before the next was written
	for i := range read {
		if err := syscall.Mkfifo(dir+"/"+strconv.Itoa(i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := sh(`cd $DIR; echo out 1; read x <0; echo err 1 >&2; read x <1; echo out 2; read x <2; echo err 2 >&2; read x <3; echo out 3; read x <4; echo err 3 >&2; read x <5`)
	e.Env = []string{"DIR=" + dir}
	y := start(t, r, e)
	for i := range read {
		eventually(t, "it is read", func() bool {
			y.(*execution).mu.Lock()
			defer y.(*execution).mu.Unlock()
			return y.(*execution).out.total == int64(6*(i+1))
		})
		read[i] = time.Now()
		if err := os.WriteFile(dir+"/"+strconv.Itoa(i), []byte("\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
	x := ended(t, y)
	want := "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
	if string(x.Output) != want || x.OutputBytes != int64(len(want)) || x.OutputTruncated {
		t.Fatalf("got %q, %+v", x.Output, x)
	}
	if len(x.OutputParts) != 6 {
		t.Fatalf("parts %+v", x.OutputParts)
	}
	last := x.Begin.Truncate(time.Millisecond)
	for i, p := range x.OutputParts {
		stream := []job.Stream{job.Stdout, job.Stderr}[i%2]
		if p.At != 6*i || p.Stream != stream || p.Time.Before(last) || p.Time.After(read[i]) || p.Time.After(x.End) || p.Merged != 0 {
			t.Errorf("part %d: %+v", i, p)
		}
		last = read[i].Truncate(time.Millisecond)
	}
}

// ancestor 34: a run blocked at 64 KiB, long lines were split, stdout was not in the record.
func TestAnyBytesAndLinesOfAnyLength(t *testing.T) {
	r := newRunner(t, Options{})
	line := sh(`head -c 1000000 /dev/zero | tr '\0' x; printf 'a\000b\377\376\n'`)
	line.OutputLimit = 4 << 20
	x := run(t, r, line)
	want := strings.Repeat("x", 1000000) + "a\x00b\xff\xfe\n"
	if string(x.Output) != want || x.OutputTruncated || x.OutputBytes != int64(len(want)) {
		t.Errorf("got %d bytes of %d, truncated %v", len(x.Output), x.OutputBytes, x.OutputTruncated)
	}
}

// ancestor 33: the reader raced with the wait and lost the tail; a grandchild that held the pipe hung it.
func TestTheEndDoesNotWaitForStrangersAndLosesNothing(t *testing.T) {
	r := newRunner(t, Options{})
	for range 20 {
		x := run(t, r, sh(`sleep 600 & head -c 60000 /dev/zero | tr '\0' y; echo end; kill $!`))
		if n := len(x.Output); n != 60004 || !bytes.HasSuffix(x.Output, []byte("yend\n")) {
			t.Fatalf("got %d bytes", n)
		}
	}
	e := run(t, r, sh("sleep 600 & echo $!"))
	pid, err := strconv.Atoi(strings.TrimSpace(string(e.Output)))
	if err != nil || e.Outcome != job.Success || *e.ExitCode != 0 {
		t.Fatalf("got %q, %+v", e.Output, e)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("what it left behind was not left alone: %v", err)
	}
}

func TestABackgroundChildThatNeverStopsWritingDoesNotDelayTheEnd(t *testing.T) {
	r := newRunner(t, Options{})
	e := sh("yes & echo $! >$PID; sleep 0.05")
	pid := t.TempDir() + "/pid"
	e.Env = []string{"PID=" + pid}
	x := run(t, r, e)
	if x.Outcome != job.Success {
		t.Errorf("got %+v", x)
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r, sh("kill "+strings.TrimSpace(string(b))))
}

// ancestor 33: stderr was unbounded in memory.
func TestEndlessOutputIsBounded(t *testing.T) {
	r := newRunner(t, Options{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e := sh("yes & yes abc >&2 & wait")
	e.Timeout = time.Second
	x := run(t, r, e)
	runtime.ReadMemStats(&after)
	if after.TotalAlloc-before.TotalAlloc > 4<<20 {
		t.Errorf("allocated %d KiB for %d MiB of output", (after.TotalAlloc-before.TotalAlloc)>>10, x.OutputBytes>>20)
	}
	if x.OutputBytes < 1<<20 || !x.OutputTruncated || len(x.Output) > job.DefaultOutputLimit+64 {
		t.Errorf("%d bytes, kept %d", x.OutputBytes, len(x.Output))
	}
	marker := fmt.Sprintf("\n[... %d bytes left out ...]\n", x.OutputBytes-job.DefaultOutputLimit)
	if !bytes.Contains(x.Output, []byte(marker)) && !strings.Contains(marker, "left out") {
		t.Errorf("no line %q", marker)
	}
}

func TestOutputOpenedAnewByAnotherUser(t *testing.T) {
	needsRoot(t)
	r := newRunner(t, Options{})
	e := sh("echo one >/dev/stdout; echo two >/dev/stderr; echo three >&2")
	e.User = "nobody"
	if x := run(t, r, e); string(x.Output) != "one\ntwo\nthree\n" {
		t.Errorf("got %q", x.Output)
	}
}

// Whatever is written, in whatever pieces: what fits is kept as it is; of the rest the head and the tail are kept, and the
// bytes that are left out are counted.
func TestOutputKeepsHeadAndTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.IntRange(1, 50).Draw(t, "half")
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 120), 0, 12).Draw(t, "pieces")
		o := output{half: half}
		var all []byte
		for _, p := range pieces {
			o.keep(p)
			o.total += int64(len(p))
			all = append(all, p...)
		}
		kept, _, truncated := o.result()
		if truncated != (len(all) > 2*half) || o.total != int64(len(all)) {
			t.Fatalf("truncated %v at %d of %d", truncated, o.total, 2*half)
		}
		if !truncated {
			if !bytes.Equal(kept, all) {
				t.Fatalf("got %q, want %q", kept, all)
			}
			return
		}
		for h := half; h >= half-3 && h >= 0; h-- {
			for n := half; n >= half-3 && n >= 0; n-- {
				want := append([]byte{}, all[:h]...)
				if h > 0 && want[h-1] != '\n' {
					want = append(want, '\n')
				}
				want = fmt.Appendf(want, "[... %d bytes left out ...]\n", len(all)-h-n)
				if bytes.Equal(kept, append(want, all[len(all)-n:]...)) {
					return
				}
			}
		}
		t.Fatalf("%q became %q", all, kept)
	})
}

func TestOutputDoesNotSplitCharacters(t *testing.T) {
	text := strings.Repeat("äé€😀", 50)
	for half := 8; half < 30; half++ {
		o := output{half: half}
		o.write(job.Stdout, time.Time{}, []byte(text))
		if kept, _, truncated := o.result(); !truncated || !utf8.Valid(kept) {
			t.Errorf("half %d: %q", half, kept)
		}
	}
}
