package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func open(t *testing.T, o Options) *Dir {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t *testing.T, d *Dir, id ID) *Writer {
	t.Helper()
	w, err := d.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// readAll reads what is there from an offset on, and the error at the end of it.
func readAll(t *testing.T, d *Dir, id ID, offset int64) ([]job.Chunk, error) {
	t.Helper()
	r, err := d.Reader(id, offset)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var list []job.Chunk
	for {
		c, err := r.Next(ctx)
		if err != nil {
			return list, err
		}
		list = append(list, c)
	}
}

func text(list []job.Chunk) string {
	var b strings.Builder
	for _, c := range list {
		b.Write(c.Data)
	}
	return b.String()
}

var at = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

func TestWhatIsWrittenIsReadFromAnyOffset(t *testing.T) {
	d := open(t, Options{})
	id := ID{"run-1", 1}
	w := create(t, d, id)
	w.Write(job.Stdout, at, []byte("out\n"))
	w.Write(job.Stderr, at.Add(time.Second), []byte("e\x00\xff\n"))
	w.Write(job.Stdout, at.Add(2*time.Second), []byte(strings.Repeat("x", 3*maxData+5)))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := readAll(t, d, id, 0)
	if !errors.Is(err, io.EOF) || len(list) != 6 {
		t.Fatalf("%d chunks, %v", len(list), err)
	}
	want := "out\ne\x00\xff\n" + strings.Repeat("x", 3*maxData+5)
	if text(list) != want {
		t.Errorf("got %d bytes, want %d", len(text(list)), len(want))
	}
	if c := list[1]; c.Offset != 4 || c.Stream != job.Stderr || !c.Time.Equal(at.Add(time.Second)) {
		t.Errorf("got %+v", c)
	}
	for _, offset := range []int64{1, 4, 6, 8, 9, maxData + 8, int64(len(want)) - 1, int64(len(want))} {
		list, err := readAll(t, d, id, offset)
		if !errors.Is(err, io.EOF) || text(list) != want[offset:] || len(list) > 0 && list[0].Offset != offset {
			t.Errorf("from %d: %d bytes, %v", offset, len(text(list)), err)
		}
	}
}

func TestAReaderWaitsForWhatIsStillToCome(t *testing.T) {
	d := open(t, Options{PerRun: 64 << 10}) // segments of 8 KiB
	id := ID{"run-1", 1}
	w := create(t, d, id)
	w.Write(job.Stdout, at, []byte("first"))
	r, err := d.Reader(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make(chan job.Chunk)
	end := make(chan error, 1)
	go func() {
		for {
			c, err := r.Next(context.Background())
			if err != nil {
				end <- err
				return
			}
			got <- c
		}
	}()
	offset := int64(0)
	for i := range 200 {
		c := <-got
		if c.Offset != offset {
			t.Fatalf("chunk %d at %d, want %d", i, c.Offset, offset)
		}
		offset = c.End()
		w.Write(job.Stdout, at, []byte(strings.Repeat("y", 1000)))
	}
	<-got
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-end; !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestAReaderStopsWhenItIsToldTo(t *testing.T) {
	d := open(t, Options{})
	id := ID{"run-1", 1}
	w := create(t, d, id)
	defer w.Close()
	r, err := d.Reader(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	time.AfterFunc(10*time.Millisecond, func() { cancel(gone) })
	if _, err := r.Next(ctx); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// ancestor 62: an id that came from elsewhere was a file name.
func TestIdsAreCheckedBeforeTheyBecomeFileNames(t *testing.T) {
	d := open(t, Options{Dir: t.TempDir() + "/logs"})
	for _, run := range []job.RunID{"", "..", "../x", "a/b", "/etc/passwd", "a\x00b", ".hidden", "a@1", job.RunID(strings.Repeat("a", 4096))} {
		if _, err := d.Create(ID{run, 1}); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("create %.20q: %v", run, err)
		}
		if _, err := d.Reader(ID{run, 1}, 0); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("read %.20q: %v", run, err)
		}
		if err := d.Remove(ID{run, 1}); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("remove %.20q: %v", run, err)
		}
	}
	if _, err := d.Create(ID{"a", -1}); job.CodeOf(err) != job.CodeInvalid {
		t.Error(err)
	}
	if left, _ := filepath.Glob(d.Path() + "/../*"); len(left) != 1 {
		t.Errorf("found %v", left)
	}
}

func TestAMissingLogSaysSo(t *testing.T) {
	d := open(t, Options{})
	if _, err := d.Reader(ID{"none", 1}, 0); !job.IsNotFound(err) || !strings.Contains(err.Error(), "rota logs none") {
		t.Error(err)
	}
	id := ID{"run-1", 1}
	w := create(t, d, id)
	w.Write(job.Stdout, at, []byte("x"))
	if _, err := d.Create(id); !job.IsConflict(err) {
		t.Errorf("a log that is being written was begun again: %v", err)
	}
	_ = w.Close()
	if list, err := d.Attempts("run-1"); err != nil || len(list) != 1 || list[0] != 1 {
		t.Error(list, err)
	}
	if err := d.Remove(id); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t, d, id, 0); !job.IsNotFound(err) {
		t.Error(err)
	}
}

// die is a kill -9 of the writer: its files are closed, and nothing else.
func (w *Writer) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.f.Close()
	w.closed = true
}

func TestALogWhoseWriterDiedBreaksOff(t *testing.T) {
	d := open(t, Options{})
	id := ID{"run-1", 1}
	w := create(t, d, id)
	w.Write(job.Stdout, at, []byte("whole"))
	w.Write(job.Stdout, at, []byte("torn"))
	var wg sync.WaitGroup
	wg.Go(func() {
		if list, err := readAll(t, d, id, 0); !errors.Is(err, ErrTorn) || text(list) != "wholetorn" {
			t.Errorf("who waits gets %q, %v", text(list), err)
		}
	})
	w.die()
	wg.Wait()
	path := filepath.Join(w.path, segmentName(0))
	if err := os.Truncate(path, w.size-2); err != nil {
		t.Fatal(err)
	}
	if list, err := readAll(t, d, id, 0); !errors.Is(err, ErrTorn) || text(list) != "whole" {
		t.Errorf("got %q, %v", text(list), err)
	}
	w = create(t, d, id) // another life of the run's attempt replaces it
	w.Write(job.Stdout, at, []byte("anew"))
	_ = w.Close()
	if list, err := readAll(t, d, id, 0); !errors.Is(err, io.EOF) || text(list) != "anew" {
		t.Errorf("got %q, %v", text(list), err)
	}
}

func size(t *testing.T, path string) (n int64) {
	t.Helper()
	_ = filepath.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			n += info.Size()
		}
		return nil
	})
	return n
}

func TestTheOldestOfARunGoesAtItsLimit(t *testing.T) {
	const limit = 256 << 10
	d := open(t, Options{PerRun: limit})
	id := ID{"run-1", 1}
	w := create(t, d, id)
	var all strings.Builder
	for i := range 40000 {
		line := fmt.Sprintf("line %d\n", i)
		all.WriteString(line)
		w.Write(job.Stdout, at, []byte(line))
	}
	if n := size(t, d.Path()); n > limit || n < limit/2 {
		t.Errorf("%d bytes on disk", n)
	}
	_ = w.Close()
	list, err := readAll(t, d, id, 0)
	if !errors.Is(err, io.EOF) || list[0].Offset == 0 || text(list) != all.String()[list[0].Offset:] {
		t.Errorf("from %d: %d bytes, %v", list[0].Offset, len(text(list)), err)
	}
}

func TestTheOldestRunsGoAtTheLimitOfTheNode(t *testing.T) {
	const limit = 1 << 20
	d := open(t, Options{PerRun: 128 << 10, PerNode: limit})
	live := create(t, d, ID{"live", 1})
	live.Write(job.Stdout, at, []byte("begin\n"))
	for i := range 40 {
		w := create(t, d, ID{job.RunID(fmt.Sprintf("run-%d", i)), 1})
		w.Write(job.Stdout, at, []byte(strings.Repeat("z", 60<<10)))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(time.Duration(i-1000) * time.Second)
		for _, p := range append([]string{w.path}, filepath.Join(w.path, segmentName(0))) {
			if err := os.Chtimes(p, old, old); err != nil {
				t.Fatal(err)
			}
		}
		if n := size(t, d.Path()); n > limit {
			t.Fatalf("%d bytes on disk", n)
		}
	}
	if _, err := readAll(t, d, ID{"run-39", 1}, 0); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if _, err := readAll(t, d, ID{"run-0", 1}, 0); !job.IsNotFound(err) {
		t.Error(err)
	}
	live.Write(job.Stdout, at, []byte("end\n"))
	_ = live.Close()
	if list, err := readAll(t, d, ID{"live", 1}, 0); !errors.Is(err, io.EOF) || text(list) != "begin\nend\n" {
		t.Errorf("of the run that is alive: %q, %v", text(list), err)
	}
}

// Where nothing can go because everything is being written, output is lost, the run goes on, and the log says so.
func TestANodeThatIsFullLosesOutputAndSaysSo(t *testing.T) {
	d := open(t, Options{PerRun: 1 << 20, PerNode: 128 << 10})
	var writers []*Writer
	for i := range 6 {
		w, err := d.Create(ID{job.RunID(fmt.Sprintf("run-%d", i)), 1})
		if err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
		w.Write(job.Stdout, at, []byte("begin\n"))
	}
	w := writers[5]
	for range 40 {
		w.Write(job.Stdout, at, []byte(strings.Repeat("z", 10<<10)))
	}
	if n := size(t, d.Path()); n > 128<<10 {
		t.Errorf("%d bytes on disk", n)
	}
	for _, w := range writers[:5] {
		_ = w.Close()
	}
	w.Write(job.Stderr, at, []byte("again\n"))
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Error(err)
	}
	list, err := readAll(t, d, ID{"run-5", 1}, 0)
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	var notes []string
	for _, c := range list {
		if c.Note != "" {
			notes = append(notes, c.Note)
		}
	}
	last := list[len(list)-1]
	if len(notes) == 0 || !strings.Contains(notes[0], "limit of 131072 bytes") || string(last.Data) != "again\n" || last.End() != 6+400<<10+6 {
		t.Errorf("notes %q, last %+v", notes, last)
	}
}
