package job_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// Whatever a file of any documents holds, in YAML, JSON or as a calendar, it is read as what can be applied again as JSON, or every fault
// says where it is.
func FuzzReadDocuments(f *testing.F) {
	for _, pattern := range []string{"testdata/documents/*", "../examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(pattern, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(filepath.Ext(file) == ".ics", b)
		}
	}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, calendar bool, data []byte) {
		file := "f.yaml"
		if calendar {
			file = "f.ics"
		}
		docs, err := job.CheckDocuments(file, data, now)
		if err != nil {
			var e *job.Error
			if !errors.As(err, &e) || e.Code != job.CodeInvalid || len(e.Fields) == 0 {
				t.Fatalf("%v", err)
			}
			for _, field := range e.Fields {
				if field.Message == "" || field.Line < 0 || field.Column < 0 {
					t.Fatalf("%#v", field)
				}
			}
			return
		}
		out, err := json.Marshal(docs)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > job.MaxTaskFile || docs.Len() == 0 {
			return
		}
		var back job.Documents
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(out) {
			t.Fatalf("%v\n%s\n%s", err, out, again)
		}
	})
}

// An expression that is read can be asked, or says what has no value.
func FuzzParseExpression(f *testing.F) {
	for _, s := range []string{
		"true", "{{ steps.load.outcome == 'success' }}", "steps.a.result.files", "{{ steps.a.result.files", "1 +", "{{ a }} b", "params.A in ['1', '2']", "any(steps.a.result, # > 1)",
		"steps['a b'].outcome", "config.A ?? 'x'", "let x = [1]; x[9]", "{{}}", "", "\xff", "1/0", "int('x')", "repeat('a', 1000000000)", "1..10000000",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := job.ParseExpression(s)
		if err != nil {
			if job.CodeOf(err) != job.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		for _, path := range x.Names() {
			if len(path) == 0 {
				t.Fatalf("%q uses a name of no words", s)
			}
		}
	})
}

// What a run hands back is read as a result, or not; what it brings nothing about is told sorted, each once.
func FuzzReadResult(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"exec_status":"Success","message":"m"}`, `{"conditions":[{"type":"A","status":true,"x":1},{"y":2}],"zz":{},"aa":[]}`,
		`{"config":{"A":"b"},"next":["t"]}`, `{"conditions":null}`, `{"Conditions":[{}],"conditions":[{"q":1}]}`, `{"":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		res, unknown, err := job.ReadResult(data)
		if err != nil {
			return
		}
		if res == nil || !json.Valid(data) {
			t.Fatalf("%q is read as %v", data, res)
		}
		if !slices.IsSorted(unknown) || len(slices.Compact(slices.Clone(unknown))) != len(unknown) {
			t.Fatalf("%q", unknown)
		}
	})
}

// Words that stand for a number are refused, or mean the same when they are written and read again.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"1h30m", "90s", "2d", "1w", "-1s", "1.5h", "64MiB", "10G", "0", "1e9", "0027", "2026-12-01T10:00:00Z", "2026-12-01T10:00:00.5Z", "1:4096", "-1:0", ":", "9223372036854775808", "١"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := job.ParseDuration(s); err == nil {
			if back, err := job.ParseDuration(d.String()); err != nil || back != d {
				t.Errorf("duration %q is %s, and that %s, %v", s, d, back, err)
			}
		}
		if n, err := job.ParseSize(s); err == nil {
			if back, err := job.ParseSize(n.String()); err != nil || back != n {
				t.Errorf("size %q is %s, and that %s, %v", s, n, back, err)
			}
		}
		if at, err := job.ParseInstant(s); err == nil && job.FormatInstant(at) != s {
			t.Errorf("instant %q is %s", s, job.FormatInstant(at))
		}
		if p, err := job.ParseLogPosition(s); err == nil {
			if back, err := job.ParseLogPosition(p.String()); err != nil || back != p {
				t.Errorf("place %q is %s, and that %s, %v", s, p, back, err)
			}
		}
		if ref, err := job.ParseRef(s); err == nil {
			if back, err := job.ParseRef(ref.String()); err != nil || back != ref {
				t.Errorf("reference %q is %s, and that %s, %v", s, ref, back, err)
			}
		}
		k := job.ParseAlertKey(s)
		if back := job.ParseAlertKey(k.String()); back != k {
			t.Errorf("key %q is %+v, and that %+v", s, k, back)
		}
	})
}
