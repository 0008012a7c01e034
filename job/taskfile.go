package job

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// MaxTaskFile is the most bytes that a task file may have.
const MaxTaskFile = 1 << 20

// maxFaults is how many faults of one file are told.
const maxFaults = 100

// ReadDocuments reads a file in YAML or JSON, of one document or several. A document is a bare list of tasks, one task, or has lists
// under the names of what they hold: "templates:", "tasks:". All is valid, and complete but for tasks that name templates. Every fault of the file is
// reported in one [Error] of [CodeInvalid], with line and column; file is the name by which they are told.
func ReadDocuments(file string, data []byte) (Documents, error) {
	return CheckDocuments(file, data, time.Time{})
}

// CheckDocuments is [ReadDocuments] that also refuses timers without an instant after now.
func CheckDocuments(file string, data []byte, now time.Time) (Documents, error) {
	r := &fileReader{now: now}
	r.read(file, data)
	r.finish()
	return r.result()
}

// Source is a task file, a folder of them, or a text.
type Source struct {
	Path string // of the file; of a text the name by which its faults are told
	Text []byte // nil: what the path has
}

// ReadFiles reads files, and of folders the *.yaml, *.yml and *.json in them and below, sorted, but nothing
// whose name begins with a dot. The faults of all files are reported in one error; nothing must stand in two of them.
func ReadFiles(paths []string) (Documents, error) {
	sources := make([]Source, len(paths))
	for i, p := range paths {
		sources[i].Path = p
	}
	return ReadSources(sources, time.Time{})
}

// ReadSources reads files, folders and texts as [ReadFiles] does. Where now is not zero, timers without an instant after it are
// refused.
func ReadSources(sources []Source, now time.Time) (Documents, error) {
	r := &fileReader{now: now}
	seen := map[string]bool{}
	for _, s := range sources {
		if s.Text != nil {
			r.read(s.Path, s.Text)
			continue
		}
		files, err := taskFiles(s.Path)
		if err != nil {
			r.fail(s.Path, err)
		}
		for _, file := range files {
			if seen[file] {
				continue
			}
			seen[file] = true
			data, err := readLimited(file)
			if err != nil {
				r.fail(file, err)
				continue
			}
			r.read(file, data)
		}
	}
	r.finish()
	return r.result()
}

// ReadTasks is [ReadDocuments] of a file in which there is nothing but tasks.
func ReadTasks(file string, data []byte) ([]Task, error) {
	docs, err := ReadDocuments(file, data)
	if err == nil && docs.Len() > len(docs.Tasks) {
		err = Errorf(CodeInvalid, "found %s, want tasks alone", docs.String())
	}
	return docs.Tasks, err
}

// ReadDocument reads one document alone, as strictly as [ReadDocuments] reads those of a list. The section is the name that the list has in a
// file, such as "templates".
func ReadDocument(section, file string, data []byte) (Documents, error) {
	if sections[section] == nil {
		return Documents{}, Errorf(CodeInternal, "no documents are called %s", section)
	}
	r := &fileReader{}
	src := &source{file: file, data: data}
	roots, faults := src.parse()
	r.faults = append(r.faults, faults...)
	roots = slices.DeleteFunc(roots, isNull)
	if len(r.faults) == 0 && len(roots) != 1 {
		r.fail(file, Errorf(CodeInvalid, "found %d documents, want the one of the %s", len(roots), section))
	}
	if len(r.faults) == 0 {
		r.item(newDecoder(src), roots[0], "", section)
		r.docs.places = map[string]written{"": r.docs.places[section+"[0]"]}
	}
	r.finish()
	return r.result()
}

// DecodeTask reads the JSON of one task as strictly as [ReadDocuments] does. The task is valid, and complete unless it names templates.
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
	return *t, nil
}

// fileReader reads task files and gathers what is wrong with them.
type fileReader struct {
	docs   Documents
	faults []FieldError
	seen   map[string]string // where each thing stands
	now    time.Time         // timers must fire after it; zero: whenever
	parts  []unresolved      // the tasks that name templates
	// unplaced: what is read has no lines that somebody has seen, and its place is the path.
	unplaced bool
}

// unresolved is a task whose rest is in templates.
type unresolved struct {
	task *Task
	d    *decoder
	path string
}

func (r *fileReader) result() (Documents, error) {
	if err := r.err(); err != nil {
		return Documents{}, err
	}
	return r.docs, nil
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

func (r *fileReader) read(file string, data []byte) {
	before := len(r.faults)
	src := &source{file: file, data: data}
	docs, faults := src.parse()
	r.faults = append(r.faults, faults...)
	for _, doc := range docs {
		r.document(src, doc)
	}
	slices.SortStableFunc(r.faults[before:], func(a, b FieldError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if more := len(r.faults) - before - maxFaults; more > 0 {
		r.faults = append(r.faults[:before+maxFaults], FieldError{File: file, Message: fmt.Sprintf("and %d more", more)})
	}
}

// finish checks the tasks as their templates make them, where all of these stand in what was read.
func (r *fileReader) finish() {
	if len(r.faults) > 0 {
		return
	}
	find := func(name string) (*Template, bool) {
		i := slices.IndexFunc(r.docs.Templates, func(t Template) bool { return t.Name == name })
		if i < 0 {
			return nil, false
		}
		return &r.docs.Templates[i], true
	}
	for _, p := range r.parts {
		whole, err := p.task.Resolve(find)
		if err != nil {
			continue // the others are where it will be applied
		}
		r.check(p.d, p.path, &whole, nil)
	}
}

// sections are the lists that a document may have, and how an item of each is read.
var sections = map[string]func(*fileReader, *decoder, *yaml.Node, string){
	"groups":    section("group", func(r *fileReader) *[]Group { return &r.docs.Groups }),
	"receivers": section("receiver", func(r *fileReader) *[]Receiver { return &r.docs.Receivers }),
	"monitors":  section("monitor", func(r *fileReader) *[]Monitor { return &r.docs.Monitors }),
	"templates": (*fileReader).template,
	"tasks": func(r *fileReader, d *decoder, n *yaml.Node, path string) {
		r.docs.Tasks = append(r.docs.Tasks, *r.task(d, n, path))
	},
}

func sectionNames() []string { return slices.Sorted(maps.Keys(sections)) }

// document reads one document: lists under the names of what they hold, a bare list of tasks, or a task.
func (r *fileReader) document(src *source, root *yaml.Node) {
	d := newDecoder(src)
	switch {
	case isNull(root):
		return
	case root.Kind == yaml.SequenceNode:
		r.list(d, root, "", "tasks")
		return
	case root.Kind != yaml.MappingNode:
		d.fail(root, "", `write tasks: and below it a list`, "found %s, want tasks", found(root))
		r.faults = append(r.faults, d.faults...)
		return
	case !slices.ContainsFunc(sectionNames(), func(name string) bool { return find(root, name) != nil }):
		r.item(d, root, "", "tasks")
		return
	}
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		section := sections[key.Value] != nil
		switch {
		case d.duplicate(seen, key, ""):
		case section && value.Kind == yaml.SequenceNode:
			r.list(d, value, key.Value, key.Value)
		case section && !isNull(value):
			d.fail(value, key.Value, `begin each of them with "- "`, "found %s, want a list", found(value))
		case section, strings.HasPrefix(key.Value, "x-"): // x-… is a place for anchors
		default:
			hint := didYouMean(key.Value, sectionNames())
			if hint == "" {
				hint = "a file has " + strings.Join(sectionNames(), ", ") + `, and names that begin with "x-"`
			}
			d.fail(key, key.Value, hint, "unknown field %q", key.Value)
		}
	}
	r.faults = append(r.faults, d.faults...)
}

func (r *fileReader) list(d *decoder, n *yaml.Node, path, section string) {
	for i, item := range n.Content {
		if d.over || len(r.faults) > 10*maxFaults {
			break
		}
		r.item(d, item, fmt.Sprintf("%s[%d]", path, i), section)
	}
}

// item reads one of a section, and notes where it was written.
func (r *fileReader) item(d *decoder, n *yaml.Node, path, section string) {
	before := r.docs.size(section)
	sections[section](r, d, n, path)
	if r.docs.size(section) == before {
		return
	}
	if r.docs.places == nil {
		r.docs.places = map[string]written{}
	}
	r.docs.places[fmt.Sprintf("%s[%d]", section, before)] = written{d, path}
}

// task decodes a task, completes it and checks it.
func (r *fileReader) task(d *decoder, n *yaml.Node, path string) *Task {
	var t Task
	before := len(d.faults)
	d.decodeTask(&t, n, path)
	if d.over {
		r.faults, d.faults = append(r.faults, d.faults...), nil
		return &t
	}
	unread := slices.Clone(d.faults[before:])
	r.faults, d.faults = append(r.faults, d.faults...), nil
	t.Complete()
	if len(t.Templates) > 0 {
		r.parts = append(r.parts, unresolved{&t, d, path})
		r.locate(d, path, unread, func(f *Faults, prefix string) { t.checkPart(f, prefix, "task") })
	} else {
		r.check(d, path, &t, unread)
	}
	if t.Name != "" {
		r.twice(d, path, "task", t.Ref().String(), "rename one, or put it in another group")
	}
	return &t
}

func (r *fileReader) check(d *decoder, path string, t *Task, unread []FieldError) {
	r.locate(d, path, unread, func(f *Faults, prefix string) {
		t.check(f, prefix)
		if !r.now.IsZero() {
			t.checkFires(f, prefix, r.now)
		}
	})
}

// template decodes a template and checks it.
func (r *fileReader) template(d *decoder, n *yaml.Node, path string) {
	var t Template
	d.decodeTask(&t.Task, n, path)
	unread := slices.Clone(d.faults)
	r.faults, d.faults = append(r.faults, d.faults...), nil
	if d.over {
		return
	}
	r.locate(d, path, unread, t.check)
	if t.Name != "" {
		r.twice(d, path, "template", t.Name, "rename one")
	}
	r.docs.Templates = append(r.docs.Templates, t)
}

// section reads the items of a list of documents of one sort.
func section[T any, P interface {
	*T
	DocumentName() string
	check(f *Faults, prefix string)
}](sort string, to func(*fileReader) *[]T) func(*fileReader, *decoder, *yaml.Node, string) {
	return func(r *fileReader, d *decoder, n *yaml.Node, path string) {
		var t T
		d.value(reflect.ValueOf(&t).Elem(), n, path)
		unread := slices.Clone(d.faults)
		r.faults, d.faults = append(r.faults, d.faults...), nil
		if d.over {
			return
		}
		r.locate(d, path, unread, P(&t).check)
		if name := P(&t).DocumentName(); name != "" {
			r.twice(d, path, sort, name, "rename one")
		}
		list := to(r)
		*list = append(*list, t)
	}
}

// locate runs a check and notes what it finds at its place. What could not be read is not complained of a second time.
func (r *fileReader) locate(d *decoder, path string, unread []FieldError, check func(f *Faults, prefix string)) {
	prefix := path
	if prefix != "" {
		prefix += "."
	}
	var f Faults
	check(&f, prefix)
	for _, fault := range f.Fields {
		if !slices.ContainsFunc(unread, func(u FieldError) bool { return covers(u.Path, fault.Path) }) {
			r.faults = append(r.faults, d.locate(fault))
		}
	}
}

// covers tells whether a fault at one path explains one at another: the same, or above or below it.
func covers(a, b string) bool {
	below := func(a, b string) bool {
		return strings.HasPrefix(b, a) && (len(b) == len(a) || b[len(a)] == '.' || b[len(a)] == '[')
	}
	return a != "" && (below(a, b) || below(b, a))
}

// twice notes what stands at two places.
func (r *fileReader) twice(d *decoder, path, sort, name, hint string) {
	at := d.locate(FieldError{Path: strings.TrimPrefix(path+".name", ".")})
	where := strings.TrimSuffix(FieldError{File: at.File, Line: at.Line, Column: at.Column}.String(), ": ")
	if r.unplaced {
		where = path
	}
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	if first, ok := r.seen[sort+" "+name]; ok {
		at.Message = fmt.Sprintf("%s %s stands here a second time; the first is at %s", sort, name, first)
		at.Hint = hint
		r.faults = append(r.faults, at)
		return
	}
	r.seen[sort+" "+name] = where
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
