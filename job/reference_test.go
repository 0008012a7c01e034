package job

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/schedule"
)

const referencePage = "../docs/task-reference.md"

// referenceRow is what the page says of a field.
type referenceRow struct{ kind, fallback, text string }

var codeSpan = regexp.MustCompile("`([^`]+)`")

func spans(text string) (list []string) {
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// readReference reads the tables of fields of the page, by the paths that the headings above them name.
func readReference(t *testing.T, text string) map[string]map[string]referenceRow {
	t.Helper()
	sections := map[string]map[string]referenceRow{}
	var paths []string
	inTable := false
	for n, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			paths, inTable = spans(line), false
			for _, p := range paths {
				if sections[p] != nil {
					t.Errorf("line %d: %s has a second section", n+1, p)
				}
				sections[p] = map[string]referenceRow{}
			}
		case strings.HasPrefix(line, "| field |"):
			if inTable = true; len(paths) == 0 {
				t.Errorf("line %d: no heading says whose fields these are", n+1)
			}
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case inTable && !strings.HasPrefix(line, "|---"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			name := spans(cells[0])
			if len(cells) != 4 || len(name) != 1 {
				t.Errorf("line %d: want a field, its type, its default and what it does: %s", n+1, line)
				continue
			}
			for _, p := range paths {
				if _, twice := sections[p][name[0]]; twice {
					t.Errorf("line %d: %s of %s is there twice", n+1, name[0], p)
				}
				sections[p][name[0]] = referenceRow{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
			}
		}
	}
	return sections
}

// fieldsBelow gathers the fields of a struct and of those in it, as the reader of task files knows them, by their paths.
func fieldsBelow(t *testing.T, into map[string]reflect.Type, path, prefix string, of reflect.Type) {
	t.Helper()
	if known := into[path]; known != nil && known != of {
		t.Errorf("%s is both %v and %v", path, known, of)
	}
	into[path] = of
	for i, name := range fieldsOf(of) {
		field := of.Field(i).Type
		for field.Kind() == reflect.Pointer || field.Kind() == reflect.Slice || field.Kind() == reflect.Map {
			field = field.Elem()
		}
		if field.Kind() == reflect.Struct && field != commandType && !reflect.PointerTo(field).Implements(textType) {
			fieldsBelow(t, into, prefix+name, prefix+name+".", field)
		}
	}
}

// reference are the sections that the page must have: a path and the struct whose fields stand there.
func reference(t *testing.T) map[string]reflect.Type {
	t.Helper()
	docs := map[string]reflect.Type{
		"tasks": reflect.TypeFor[Task](), "groups": reflect.TypeFor[Group](), "receivers": reflect.TypeFor[Receiver](),
		"monitors": reflect.TypeFor[Monitor](), "calendar": reflect.TypeFor[calendarFile](),
	}
	want := map[string]reflect.Type{}
	for path, of := range docs {
		fieldsBelow(t, want, path, "", of)
	}
	fieldsBelow(t, want, "result", "result.", reflect.TypeFor[Result]())
	for _, name := range sectionNames() {
		if docs[name] == nil && name != "templates" { // which are tasks
			t.Errorf("a file has %s, of which this test knows nothing", name)
		}
	}
	return want
}

// The reference of task files has every field that can be written, and no other.
func TestReference(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	page, want := readReference(t, string(text)), reference(t)
	if rows, ok := page["templates"]; !ok || len(rows) > 0 {
		t.Error("want a section templates, without fields of its own")
	}
	delete(page, "templates")
	for path := range page {
		if want[path] == nil {
			t.Errorf("the page has a section %s, and nothing that is called so can be written", path)
		}
	}
	for path, of := range want {
		if page[path] == nil {
			t.Errorf("the page has no section %s", path)
			continue
		}
		fields := fieldsOf(of)
		for _, name := range fields {
			if _, ok := page[path][name]; !ok {
				t.Errorf("%s lacks the field %s", path, name)
			}
		}
		for name := range page[path] {
			if !slices.Contains(fields, name) {
				t.Errorf("%s has the field %s, which does not exist", path, name)
			}
		}
	}
	if t.Failed() {
		return
	}
	checkFallbacks(t, page, want)
	checkWords(t, page)
	checkBounds(t, page)
	checkValueNames(t, string(text))
}

// filledIn are the fields that completing something filled in, with their values.
func filledIn(t *testing.T, before, after any) map[string]string {
	t.Helper()
	object := func(v any) (m map[string]any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	was, got := object(before), map[string]string{}
	for name, value := range object(after) {
		if _, ok := was[name]; !ok {
			got[name] = fmt.Sprint(value)
		}
	}
	return got
}

// checkFallbacks compares the defaults: those that Complete fills in, and those of what is left empty till it is used.
func checkFallbacks(t *testing.T, page map[string]map[string]referenceRow, want map[string]reflect.Type) {
	t.Helper()
	plain := Task{Name: "x", Command: Args("true"), Depends: []Depend{{Task: "y"}}}
	timed := plain
	timed.Timer = "@daily"
	plainDone, timedDone := plain, timed
	plainDone.Complete()
	timedDone.Complete()
	group := Group{Name: "x", Timer: "@daily"}
	groupDone := group
	groupDone.Complete()

	fallback := map[string][]string{
		"tasks/grace": {Duration(DefaultGrace).String()}, "http/expect": {Statuses("").String()}, "ssh/port": {fmt.Sprint(SSHPort)},
		"groups/max_parallel": {fmt.Sprint(DefaultParallel)}, "groups/deadline": {Duration(DefaultDeadline).String()},
		"receivers/max_per_hour": {fmt.Sprint(DefaultPerHour)},
		"monitors/grace":         {Duration(DefaultPingGrace).String()}, "monitors/max_run": {Duration(DefaultMaxRun).String()},
	}
	add := func(path string, values map[string]string) {
		for name, value := range values {
			key := path + "/" + name
			if !slices.Contains(fallback[key], value) {
				fallback[key] = append(fallback[key], value)
			}
		}
	}
	add("tasks", filledIn(t, &timed, &timedDone))
	add("tasks", filledIn(t, &plain, &plainDone))
	add("groups", filledIn(t, &group, &groupDone))
	add("depends", filledIn(t, &plain.Depends[0], &plainDone.Depends[0]))
	for path, of := range want {
		for i, name := range fieldsOf(of) {
			key, cell := path+"/"+name, page[path][name].fallback
			required := !strings.Contains(of.Field(i).Tag.Get("json"), ",omit")
			switch {
			case key == "tasks/command":
				required = true // or what stands for it
			case of == refType:
				required = false // a text will do
			}
			switch {
			case required && cell != "required":
				t.Errorf("%s is required, the page says %q", key, cell)
			case !required && !slices.Equal(spans(cell), fallback[key]):
				t.Errorf("%s: the page has the default %q, want %q", key, cell, fallback[key])
			case !required && len(fallback[key]) == 0 && cell != "":
				t.Errorf("%s has no default, the page says %q", key, cell)
			}
			delete(fallback, key)
		}
	}
	for key := range fallback {
		t.Errorf("there is a default of %s, and no such field", key)
	}
}

func strs[S ~string](list []S) (words []string) {
	for _, s := range list {
		words = append(words, string(s))
	}
	return words
}

// checkWords compares the words of which a field may have one.
func checkWords(t *testing.T, page map[string]map[string]referenceRow) {
	t.Helper()
	gaps, overlaps := []string{"run", "skip"}, []string{"once", "twice"}
	for i := range gaps { // the package schedule reads them
		if fmt.Sprint(schedule.Gap(i)) != gaps[i] || fmt.Sprint(schedule.Overlap(i)) != overlaps[i] {
			t.Errorf("dst has %v and %v", schedule.Gap(i), schedule.Overlap(i))
		}
	}
	for key, words := range map[string][]string{
		"tasks/mode": strs(RuleModes), "tasks/kind": strs(kindNames[:]), "tasks/spread": strs(Spreads), "tasks/overlap": strs(Overlaps),
		"tasks/catchup": strs(Catchups), "tasks/on_lost": strs(OnLosts), "tasks/success": strs(SuccessBys), "tasks/result_from": strs(Streams),
		"dst/gap": gaps, "dst/overlap": overlaps, "params/type": strs(paramTypes), "depends/strategy": strs(DependStrategies),
		"notify/on": strs(AlertEvents), "http/result_from": {ResultFromBody}, "groups/on_failure": strs(OnFailures),
		"groups/overlap": strs(GroupOverlaps), "groups/catchup": strs(Catchups), "mail/tls": {string(MailStartTLS), string(MailOnlyTLS), string(MailNoTLS)},
		"result/exec_status": {ExecSuccess, ExecFailure},
	} {
		path, name, _ := strings.Cut(key, "/")
		if got := spans(page[path][name].kind); !slices.Equal(got, words) {
			t.Errorf("%s: the page has %q, want %q", key, got, words)
		}
	}
}

// checkBounds looks for the bounds of what the fields may be.
func checkBounds(t *testing.T, page map[string]map[string]referenceRow) {
	t.Helper()
	kib := func(n int) string { return fmt.Sprintf("%d KiB", n>>10) }
	hours := func(d time.Duration) string { return fmt.Sprintf("`%dh`", int(d.Hours())) }
	for key, bound := range map[string]string{
		"tasks/description": kib(maxDescription), "tasks/params": fmt.Sprintf("At most %d.", maxParams), "tasks/command": kib(maxCommand),
		"tasks/input": kib(maxStdin), "tasks/stdin": kib(maxStdin), "tasks/env": kib(maxEnv), "tasks/timer": fmt.Sprintf("At most %d.", schedule.MaxTimers),
		"tasks/exclude": fmt.Sprintf("At most %d.", maxExclude), "tasks/jitter": hours(maxJitter), "tasks/nodes": fmt.Sprintf("At most %d.", maxNodes),
		"tasks/labels": fmt.Sprintf("At most %d.", maxLabels), "tasks/concurrency": fmt.Sprintf("1 to %d.", maxConcurrency),
		"tasks/depends": fmt.Sprintf("At most %d.", maxDepends), "tasks/notify": fmt.Sprintf("At most %d.", maxNotify),
		"tasks/max_parallel": fmt.Sprintf("up to %d;", MaxExecutionParallel), "groups/max_parallel": fmt.Sprintf("up to %d.", MaxExecutionParallel),
		"http/headers": fmt.Sprintf("at most %d.", maxHeaders), "http/body": kib(maxStdin), "http/follow_redirects": fmt.Sprintf("up to %d;", maxRedirects),
		"limits/memory": "from `" + Size(MinMemory).String() + "` on", "limits/cpu": fmt.Sprintf("%v to %v:", minCPU, maxCPU),
		"limits/cpu_weight": fmt.Sprintf("1 to %d;", maxWeight), "limits/processes": fmt.Sprintf("1 to %d.", maxCount),
		"limits/open_files": fmt.Sprintf("%d to %d.", minFiles, maxFiles), "retry/count": fmt.Sprintf("0 to %d.", maxRetries),
		"retry/backoff": fmt.Sprintf("1 to %d;", maxBackoff), "retry/max": hours(maxWait), "depends/within": hours(maxWithin),
		"notify/to": fmt.Sprintf("at most %d.", maxReceivers), "notify/repeat": "`" + minRepeat.String() + "`",
		"webhook/headers": fmt.Sprintf("at most %d;", maxLabels), "calendar/ranges": kib(maxExcludeBytes),
	} {
		path, name, _ := strings.Cut(key, "/")
		if row := page[path][name]; !strings.Contains(row.text, bound) {
			t.Errorf("%s: want %q in %q", key, bound, row.text)
		}
	}
}

// checkValueNames compares the names and functions of values.
func checkValueNames(t *testing.T, text string) {
	t.Helper()
	_, rest, _ := strings.Cut(text, "\n## Values\n")
	table, rest, ok := strings.Cut(rest, "<!-- functions -->\n")
	list, _, _ := strings.Cut(rest, "\n\n")
	if got := spans(list); !ok || !slices.Equal(got, functionNames()) {
		t.Errorf("the page has the functions %q, want %q", got, functionNames())
	}
	roots := map[string]bool{}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, name := range spans(strings.Split(line, "|")[1]) {
			if root, _, _ := strings.Cut(name, "."); root != "" {
				roots[root] = true
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(roots)), slices.Sorted(slices.Values(valueRoots)); !slices.Equal(got, want) {
		t.Errorf("the page has values of %q, want %q", got, want)
	}
	if want := fmt.Sprintf("at most %d KiB, and its value at most %d KiB", maxExpression>>10, maxValue>>10); !strings.Contains(rest, want) {
		t.Errorf("want %q", want)
	}
}
