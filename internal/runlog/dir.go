package runlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
)

// Options configure a [Dir].
type Options struct {
	// Dir is the folder. It is created, for its owner alone. Several processes may have it open.
	Dir string
	// PerRun is how many bytes on disk the log of one attempt may have; 0: DefaultPerRun. At the limit its oldest eighth goes.
	PerRun int64
	// PerNode is how many bytes on disk all logs may have; 0: DefaultPerNode.
	PerNode int64
	// Logger hears of logs that can't be written or removed; nil: nobody.
	Logger *slog.Logger
}

// The default limits.
const (
	DefaultPerRun  = 16 << 20
	DefaultPerNode = 1 << 30
)

// ID names a log.
type ID struct {
	Run     job.RunID
	Attempt int // from 1
}

// name is the log's folder. Every id is checked before it becomes a part of a path: a run's is a name (see job.CheckName), which
// has no slash and no "@" and does not begin with a dot.
func (id ID) name() (string, error) {
	if err := job.CheckName("run", string(id.Run)); err != nil {
		return "", err
	}
	if id.Attempt < 0 {
		return "", job.Errorf(job.CodeInvalid, "run %s: attempt %d: attempts count from 1", id.Run, id.Attempt)
	}
	return string(id.Run) + "@" + strconv.Itoa(id.Attempt), nil
}

// Dir is the folder of a node's logs. It is safe for concurrent use, in several processes too.
type Dir struct {
	path            string
	perRun, perNode int64
	segment         int64 // how large a segment grows
	log             *slog.Logger

	mu      sync.Mutex
	used    int64 // on disk, as of the last look and what this process has written since
	written int64 // by this process since the last look
	looked  bool
}

// Open makes the folder and counts what is in it. A [Dir] holds nothing that needs closing.
func Open(o Options) (*Dir, error) {
	if o.Dir == "" {
		return nil, job.Errorf(job.CodeInvalid, "no folder for the logs of runs is configured; set Options.Dir")
	}
	if o.PerRun <= 0 {
		o.PerRun = DefaultPerRun
	}
	if o.PerNode <= 0 {
		o.PerNode = DefaultPerNode
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(o.Dir)
	if err == nil {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("folder for the logs of runs: %w", err)
	}
	d := &Dir{path: path, perRun: o.PerRun, perNode: o.PerNode, segment: max(o.PerRun/8, 1), log: o.Logger}
	if err := d.room(0); err != nil {
		d.log.Warn("the logs of runs exceed their limit", "dir", path, "error", err)
	}
	return d, nil
}

// Path is the folder.
func (d *Dir) Path() string { return d.path }

// Remove removes a log. One that isn't there is no error.
func (d *Dir) Remove(id ID) error {
	name, err := id.name()
	if err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(d.path, name))
}

// Attempts lists the attempts of a run that have a log, in order.
func (d *Dir) Attempts(run job.RunID) ([]int, error) {
	if err := job.CheckName("run", string(run)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list the logs of runs: %w", err)
	}
	var list []int
	for _, e := range entries {
		if of, n, ok := strings.Cut(e.Name(), "@"); ok && of == string(run) {
			if n, err := strconv.Atoi(n); err == nil {
				list = append(list, n)
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// segments lists the offsets at which a log's segments begin, in order. A log that is gone has none.
func segments(path string) []int64 {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil
	}
	var list []int64
	for _, e := range entries {
		if start, ok := segmentStart(e.Name()); ok {
			list = append(list, start)
		}
	}
	slices.Sort(list)
	return list
}

func segmentName(start int64) string { return fmt.Sprintf("%016x", start) }

func segmentStart(name string) (int64, bool) {
	if len(name) != 16 {
		return 0, false
	}
	n, err := strconv.ParseInt(name, 16, 64)
	return n, err == nil
}

// onDisk is what a file of so many bytes takes, in blocks.
func onDisk(size int64) int64 { return (size + 4095) &^ 4095 }

const folderSize = 4096

// room makes sure that n more bytes fit under the limit of the node, for which it removes what is oldest.
func (d *Dir) room(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	// Other processes write too: what they add is seen at the next look.
	if !d.looked || d.used+n > d.perNode || d.written > d.perNode/16 {
		d.look(n)
	}
	if d.used+n > d.perNode {
		return fmt.Errorf("the logs of all runs on this node have reached their limit of %d bytes", d.perNode)
	}
	d.used += n
	d.written += n
	return nil
}

// kept is a log or a part of one that may be removed.
type kept struct {
	path string
	size int64
	at   time.Time // of the last write
}

// look counts what is on disk and removes what is too much, and a bit more, so that the next look comes late. d.mu is held.
func (d *Dir) look(n int64) {
	d.looked, d.written, d.used = true, 0, 0
	entries, err := os.ReadDir(d.path)
	if err != nil {
		d.log.Warn("the logs of runs can't be listed", "dir", d.path, "error", err)
		return
	}
	var ended, old []kept
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		whole, parts := d.weigh(filepath.Join(d.path, e.Name()))
		d.used += whole.size
		if parts == nil {
			ended = append(ended, whole)
		}
		old = append(old, parts...)
	}
	if d.used+n <= d.perNode {
		return
	}
	byAge := func(a, b kept) int { return a.at.Compare(b.at) }
	slices.SortFunc(ended, byAge)
	slices.SortFunc(old, byAge)
	for _, k := range append(ended, old...) {
		if d.used+n <= d.perNode-d.perNode/10 {
			return
		}
		if err := os.RemoveAll(k.path); err != nil {
			d.log.Warn("an old log can't be removed", "path", k.path, "error", err)
			continue
		}
		d.used -= k.size
	}
}

// weigh measures a log. Of one that is being written it returns the segments before the last, never nil.
func (d *Dir) weigh(path string) (whole kept, parts []kept) {
	whole = kept{path: path, size: folderSize}
	entries, _ := os.ReadDir(path)
	if info, err := os.Stat(path); err == nil {
		whole.at = info.ModTime()
	}
	last := ""
	for _, e := range entries { // in the order of their names
		info, err := e.Info()
		if err != nil {
			continue
		}
		k := kept{filepath.Join(path, e.Name()), onDisk(info.Size()), info.ModTime()}
		whole.size += k.size
		if k.at.After(whole.at) {
			whole.at = k.at
		}
		if _, ok := segmentStart(e.Name()); ok { // else it is one that is just being made, or that a crash left half made
			parts = append(parts, k)
			last = k.path
		}
	}
	if last == "" {
		// Nobody may be between making the folder and its first segment for longer than that.
		if time.Since(whole.at) > time.Minute {
			return whole, nil
		}
		return whole, []kept{}
	}
	if !locked(last) {
		return whole, nil
	}
	return whole, parts[:len(parts)-1]
}

// locked tells whether somebody writes the segment.
func locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return !tryLock(f, true)
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
