package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Damage in the middle costs one line.
func TestSpoolDamage(t *testing.T) {
	s := openTestSpool(t, t.TempDir())
	var starts []int64
	for n := range 20 {
		starts = append(starts, s.size)
		end(t, s, n)
	}
	whole, err := os.ReadFile(s.path(s.seq))
	must(t, err)
	for n, start := range starts {
		for _, off := range []int64{0, 8, 9, 12, 60} {
			dir := t.TempDir()
			bad := slices.Clone(whole)
			bad[start+off] ^= 0x04
			must(t, os.WriteFile(filepath.Join(dir, "00000001.log"), bad, 0o600))
			r := openTestSpool(t, dir)
			if ids := r.remembers().pending; len(ids) != 19 || slices.Contains(ids, testRecord(n).ID) {
				t.Errorf("damage at %d of line %d: %v", off, n, ids)
			}
		}
	}
	// A record that is damaged after it was read in is given up, and the others come.
	s.mu.Lock()
	for _, p := range s.pending {
		p.cached = nil
	}
	s.mu.Unlock()
	whole[starts[5]+30] ^= 1
	must(t, os.WriteFile(s.path(s.seq), whole, 0o600))
	recs, err := s.next(100, 1<<20)
	if len(recs) != 19 || !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "run000005") {
		t.Errorf("%d records, %v", len(recs), err)
	}
	if recs, err = s.next(100, 1<<20); len(recs) != 19 || err != nil || s.waiting() != 19 {
		t.Errorf("then %d records, %v", len(recs), err)
	}
}

// fullDisk is a disk that takes so many bytes and no more.
type fullDisk struct{ left atomic.Int64 }

func (d *fullDisk) create(path string) (logFile, error) {
	f, err := createSegment(path)
	return fullFile{f, d}, err
}

type fullFile struct {
	logFile
	d *fullDisk
}

func (f fullFile) Write(b []byte) (int, error) {
	left := f.d.left.Add(-int64(len(b)))
	if left >= 0 {
		return f.logFile.Write(b)
	}
	n := max(0, len(b)+int(left))
	f.logFile.Write(b[:n])
	f.d.left.Store(0)
	return n, &os.PathError{Op: "write", Path: "log", Err: syscall.ENOSPC}
}

// While the disk is full everything is kept in memory; as soon as it has room, it is on the disk, and nothing was lost.
func TestSpoolDiskFull(t *testing.T) {
	for _, room := range []int64{0, 1, 300, 1500, 2000} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			t.Parallel()
			d := &fullDisk{}
			d.left.Store(room)
			s, err := openSpoolWith(t.TempDir(), d.create)
			must(t, err)
			refused := 0
			for n := range 20 {
				b, e := testRecord(100+n), testRecord(n)
				if s.begin(&b) != nil {
					refused++
				}
				if err := s.end(&e); err != nil {
					refused++
					if !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("record %d: %v", n, err)
					}
				}
			}
			if refused == 0 {
				t.Fatal("the disk was large enough")
			}
			_ = s.ack([]string{testRecord(0).ID, testRecord(7).ID})
			if recs, err := s.next(100, 1<<20); err != nil || len(recs) != 18 {
				t.Errorf("%d records, %v", len(recs), err)
			}
			d.left.Store(1 << 30)
			for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() { // it mends by itself
				s.mu.Lock()
				broken := s.broken
				s.mu.Unlock()
				if broken == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("it stays broken")
				}
				time.Sleep(time.Millisecond)
			}
			end(t, s, 30)
			r := s.reopen(t)
			got, want := r.remembers(), s.remembers()
			// What was handed over while the disk was full may be handed over again.
			got.pending = slices.DeleteFunc(got.pending, func(id string) bool { return id == "run000000" || id == "run000007" })
			slices.Sort(got.pending)
			slices.Sort(want.pending)
			if diff := got.diff(want); diff != "" {
				t.Error(diff)
			}
			must(t, s.close())
			rec := testRecord(40)
			if err := s.end(&rec); !errors.Is(err, errClosed) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}
