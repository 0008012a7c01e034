package runlog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/rota-dev/rota/job"
)

// FuzzLog reads a segment of any bytes, as a crash, a full disk or somebody's editor may leave it: readers end, and what they give
// was written with its checksum.
func FuzzLog(f *testing.F) {
	good := appendFrame(nil, frame{kindStdout, 1, 0, []byte("first\n")})
	good = appendFrame(good, frame{kindStderr, 2, 6, []byte("second\x00\xff")})
	f.Add(good, int64(0))
	f.Add(append(good[:len(good):len(good)], good[:20]...), int64(3))
	f.Add(appendFrame(appendFrame(good[:len(good):len(good)], frame{kindNote, 3, 14, []byte("note")}), frame{kindEnd, 4, 14, nil}), int64(7))
	f.Add(bytes.Repeat([]byte{0xff}, 100), int64(-1))
	f.Add([]byte{}, int64(1)<<62)
	f.Fuzz(func(t *testing.T, data []byte, offset int64) {
		d, err := Open(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(d.Path(), "run@1")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, segmentName(0)), data, 0o600)); err != nil {
			t.Fatal(err)
		}
		r, err := d.Reader(ID{"run", 1}, offset)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		size := 0
		for {
			c, err := r.Next(context.Background())
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrTorn) {
					t.Fatal(err)
				}
				break
			}
			if c.Offset < offset && c.Note == "" {
				t.Fatalf("asked from %d, got %+v", offset, c)
			}
			size += len(c.Data) + len(c.Note)
		}
		if size > len(data) {
			t.Fatalf("%d bytes of %d", size, len(data))
		}
		for at := range data { // a frame is found where one is, and is what it says
			if fr, n := parseFrame(data[at:]); n > 0 && !bytes.Equal(appendFrame(nil, fr), data[at:at+n]) {
				t.Fatalf("the frame at %d is not what was written", at)
			}
		}
	})
}

// Wherever a log is torn, what comes before is whole, and what comes after is never taken for output.
func TestATearAnywhereIsRecognised(t *testing.T) {
	var data []byte
	var ends []int
	want := ""
	for i := range 20 {
		text := bytes.Repeat([]byte{byte('a' + i)}, i)
		data = appendFrame(data, frame{kindStdout, int64(i), int64(len(want)), text})
		want += string(text)
		ends = append(ends, len(data))
	}
	d := open(t, Options{})
	dir := filepath.Join(d.Path(), "run@1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	check := func(name string, b []byte, whole int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, segmentName(0)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, end := range ends {
			if end <= whole {
				n += i
			}
		}
		if list, err := readAll(t, d, ID{"run", 1}, 0); !errors.Is(err, ErrTorn) || text(list) != want[:n] {
			t.Fatalf("%s: got %q, want %q, %v", name, text(list), want[:n], err)
		}
	}
	for cut := range data {
		check("cut", data[:cut], cut)
		b := bytes.Clone(data)
		b[cut] ^= 0x40
		begin := 0
		for _, end := range ends {
			if end <= cut {
				begin = end
			}
		}
		check("changed", b, begin)
	}
}

// A disk that refuses loses output, and never the run; when there is room again the log says what is missing.
func TestADiskThatRefuses(t *testing.T) {
	d := open(t, Options{})
	w := create(t, d, ID{"run", 1})
	w.Write(job.Stdout, at, []byte("before\n"))
	f := w.f
	full, err := os.Open(f.Name()) // read-only: every write fails, and so does cutting off the half of one
	if errors.Is(err, os.ErrNotExist) {
		full, err = os.Open(filepath.Join(w.path, segmentName(0)))
	}
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.f = full
	w.mu.Unlock()
	w.Write(job.Stdout, at, []byte("lost\n"))
	w.Write(job.Stderr, at, []byte("after\n")) // goes into a segment of its own
	f.Close()
	if err := w.Close(); err == nil {
		t.Error("nothing was said")
	}
	list, err := readAll(t, d, ID{"run", 1}, 0)
	if !errors.Is(err, io.EOF) || text(list) != "before\nafter\n" || len(list) != 3 || list[2].Offset != 12 || list[1].Note == "" {
		t.Errorf("got %+v, %v", list, err)
	}
}

// Where the folder can't be made at first, the log begins when it can.
func TestALogBeginsWhenItsPlaceIsThere(t *testing.T) {
	d := open(t, Options{})
	path := d.Path()
	if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	w, err := d.Create(ID{"run", 1})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(job.Stdout, at, []byte("lost\n"))
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	w.Write(job.Stdout, at, []byte("kept\n"))
	_ = w.Close()
	list, err := readAll(t, d, ID{"run", 1}, 0)
	if !errors.Is(err, io.EOF) || text(list) != "kept\n" || list[0].Note == "" || list[1].Offset != 5 {
		t.Errorf("got %+v, %v", list, err)
	}
}
