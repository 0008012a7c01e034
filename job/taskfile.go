package job

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// MaxTaskFile is the most bytes that a task file may have.
const MaxTaskFile = 1 << 20

// maxFaults is how many faults of one file are told.
const maxFaults = 100

// ReadTasks reads a task file in YAML or JSON: a list of tasks under "tasks:", a bare list, or one task, in one document or
// several. The tasks are complete and valid. Every fault of the file is reported in one [Error] of [CodeInvalid], with line
// and column; file is the name by which they are told.
func ReadTasks(file string, data []byte) ([]Task, error) {
	return CheckTasks(file, data, time.Time{})
}

// CheckTasks is [ReadTasks] that also refuses timers without an instant after now.
func CheckTasks(file string, data []byte, now time.Time) ([]Task, error) {
	r := &fileReader{now: now}
	tasks := r.read(file, data)
	if err := r.err(); err != nil {
		return nil, err
	}
	return tasks, nil
}

// ReadTaskFiles reads files, and of folders the *.yaml, *.yml and *.json in them and below, sorted, but nothing
// whose name begins with a dot. The faults of all files are reported in one error; a task must not stand in two of them.
func ReadTaskFiles(paths []string) ([]Task, error) { return CheckTaskFiles(paths, time.Time{}) }

// CheckTaskFiles is [ReadTaskFiles] that also refuses timers without an instant after now.
func CheckTaskFiles(paths []string, now time.Time) ([]Task, error) {
	r := &fileReader{now: now}
	var tasks []Task
	var seen []string
	for _, p := range paths {
		files, err := taskFiles(p)
		if err != nil {
			r.fail(p, err)
		}
		for _, file := range files {
			if slices.Contains(seen, file) {
				continue
			}
			seen = append(seen, file)
			data, err := readLimited(file)
			if err != nil {
				r.fail(file, err)
				continue
			}
			tasks = append(tasks, r.read(file, data)...)
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return tasks, nil
}

// DecodeTask reads the JSON of one task as strictly as [ReadTasks] does. The task is complete and valid.
func DecodeTask(data []byte) (Task, error) {
	r := &fileReader{}
	src := &source{data: data}
	if f, ok := src.unreadable(); ok {
		r.faults = append(r.faults, f)
		return Task{}, r.err()
	}
	root, fault := parseJSON(data)
	if fault != nil {
		r.faults = append(r.faults, *fault)
		return Task{}, r.err()
	}
	d := newDecoder(src)
	t := r.task(d, root, "")
	if err := r.err(); err != nil {
		return Task{}, err
	}
	return t, nil
}

// fileReader reads task files and gathers what is wrong with them.
type fileReader struct {
	faults []FieldError
	seen   map[TaskRef]string // where a task stands
	now    time.Time          // timers must fire after it; zero: whenever
}

func (r *fileReader) err() error {
	f := Faults{Fields: r.faults}
	return f.Err("")
}

// fail notes that a file could not be read at all.
func (r *fileReader) fail(file string, err error) {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	message := err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		message = "there is no such file"
	}
	r.faults = append(r.faults, FieldError{File: file, Message: message})
}

func (r *fileReader) read(file string, data []byte) []Task {
	before := len(r.faults)
	src := &source{file: file, data: data}
	docs, faults := src.parse()
	r.faults = append(r.faults, faults...)
	var tasks []Task
	for _, doc := range docs {
		tasks = append(tasks, r.document(src, doc)...)
	}
	slices.SortStableFunc(r.faults[before:], func(a, b FieldError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if more := len(r.faults) - before - maxFaults; more > 0 {
		r.faults = append(r.faults[:before+maxFaults], FieldError{File: file, Message: fmt.Sprintf("and %d more", more)})
	}
	return tasks
}

// document reads one document: a list under tasks, a bare list, or a task.
func (r *fileReader) document(src *source, root *yaml.Node) []Task {
	d := newDecoder(src)
	switch {
	case isNull(root):
		return nil
	case root.Kind == yaml.SequenceNode:
		return r.list(d, root, "")
	case root.Kind != yaml.MappingNode:
		d.fail(root, "", `write tasks: and below it a list`, "found %s, want tasks", found(root))
	case find(root, "tasks") == nil:
		return []Task{r.task(d, root, "")}
	}
	var tasks []Task
	if root.Kind == yaml.MappingNode {
		seen := map[string]*yaml.Node{}
		for i := 0; i+1 < len(root.Content); i += 2 {
			key, value := root.Content[i], root.Content[i+1]
			switch {
			case d.duplicate(seen, key, ""):
			case key.Value == "tasks" && value.Kind == yaml.SequenceNode:
				tasks = r.list(d, value, "tasks")
			case key.Value == "tasks" && !isNull(value):
				d.fail(value, "tasks", `begin each task with "- "`, "found %s, want a list", found(value))
			case key.Value == "tasks", strings.HasPrefix(key.Value, "x-"): // x-… is a place for anchors
			default:
				d.fail(key, key.Value, `beside tasks only names that begin with "x-" may stand`, "unknown field %q", key.Value)
			}
		}
	}
	r.faults = append(r.faults, d.faults...)
	return tasks
}

func (r *fileReader) list(d *decoder, n *yaml.Node, path string) []Task {
	tasks := make([]Task, 0, len(n.Content))
	for i, item := range n.Content {
		if d.over || len(r.faults) > 10*maxFaults {
			break
		}
		at := fmt.Sprintf("%s[%d]", path, i)
		tasks = append(tasks, r.task(d, item, at))
	}
	return tasks
}

// task decodes a task, completes it and checks it.
func (r *fileReader) task(d *decoder, n *yaml.Node, path string) Task {
	var t Task
	before := len(d.faults)
	d.decodeTask(&t, n, path)
	if d.over {
		r.faults, d.faults = append(r.faults, d.faults...), nil
		return t
	}
	// What could not be read is not complained of a second time.
	unread := d.faults[before:]
	t.Complete()
	prefix := path
	if prefix != "" {
		prefix += "."
	}
	var f Faults
	t.check(&f, prefix)
	if !r.now.IsZero() {
		t.checkFires(&f, prefix, r.now)
	}
	for _, fault := range f.Fields {
		if !slices.ContainsFunc(unread, func(u FieldError) bool { return covers(u.Path, fault.Path) }) {
			d.faults = append(d.faults, d.locate(fault))
		}
	}
	if t.Name != "" {
		r.twice(d, n, path, t.Ref())
	}
	r.faults = append(r.faults, d.faults...)
	d.faults = nil
	return t
}

// covers tells whether a fault at one path explains one at another: the same, or above or below it.
func covers(a, b string) bool {
	below := func(a, b string) bool {
		return strings.HasPrefix(b, a) && (len(b) == len(a) || b[len(a)] == '.' || b[len(a)] == '[')
	}
	return a != "" && (below(a, b) || below(b, a))
}

// twice notes that a task stands at two places.
func (r *fileReader) twice(d *decoder, n *yaml.Node, path string, ref TaskRef) {
	at := d.locate(FieldError{Path: strings.TrimPrefix(path+".name", ".")})
	where := strings.TrimSuffix(FieldError{File: at.File, Line: at.Line, Column: at.Column}.String(), ": ")
	if r.seen == nil {
		r.seen = map[TaskRef]string{}
	}
	if first, ok := r.seen[ref]; ok {
		at.Message = fmt.Sprintf("task %s stands here a second time; the first is at %s", ref, first)
		at.Hint = "rename one, or put it in another group"
		d.faults = append(d.faults, at)
		return
	}
	r.seen[ref] = where
}

// taskFiles are the files that a path stands for.
func taskFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{filepath.Clean(path)}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)):
			files = append(files, p)
		}
		return nil
	})
	return files, err
}

// readLimited reads no more of a file than shows that it is too long.
func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxTaskFile+1))
}
