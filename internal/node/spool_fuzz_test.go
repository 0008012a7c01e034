package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/rota-dev/rota/job"
)

// A line that is taken is one that could have been written, and a line that was written is taken.
func FuzzParseLine(f *testing.F) {
	line, err := formatLine('A', []string{"a"})
	must(f, err)
	f.Add(line)
	f.Add([]byte("00000000 B\n"))
	f.Add([]byte("zzzzzzzz B{}\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		kind, body, ok := parseLine(line)
		if ok && (len(body) != len(line)-lineHead-1 || line[lineHead-1] != kind) {
			t.Errorf("%q gives %c %q", line, kind, body)
		}
		written, err := formatLine('E', string(line))
		must(t, err)
		if kind, body, ok = parseLine(written); !ok || kind != 'E' || bytes.Contains(body, []byte{'\n'}) {
			t.Errorf("%q is not read back", written)
		}
	})
}

// Whatever stands in a segment, the spool opens, and what it then holds it can hand over.
func FuzzReplay(f *testing.F) {
	var all []byte
	rec := testRecord(1)
	for kind, v := range map[byte]any{
		'B': openRun{Record: rec}, 'P': job.Process{ID: "1", Run: "run000001"}, 'E': rec, 'A': []string{"run000001"},
		'C': map[string]string{"a": "2000-01-01T00:00:00Z"}, 'D': "a",
	} {
		line, err := formatLine(kind, v)
		must(f, err)
		f.Add(line, []byte("x"))
		all = append(all, line...)
	}
	f.Add(all, []byte{})
	f.Add([]byte("\n\n"), []byte(`{"id":"x","outcome":"success"}`))
	f.Fuzz(func(t *testing.T, raw, body []byte) {
		segment := bytes.Clone(raw)
		for _, kind := range "BPEACD" { // with a right checksum too
			if line, err := formatLine(byte(kind), jsonText(body)); err == nil {
				segment = append(segment, line...)
			}
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "00000007.log"), segment, 0o600))
		s := openTestSpool(t, dir)
		recs, err := s.next(1<<20, 1<<30)
		if err != nil || len(recs) != s.waiting() {
			t.Errorf("%d of %d records, %v", len(recs), s.waiting(), err)
		}
		for i := range s.orphans() {
			if s.orphans()[i].Record.ID == "" {
				t.Error("a run without a name is open")
			}
		}
		s.wantSurvives(t)
	})
}

// jsonText is JSON as it stands.
type jsonText []byte

func (j jsonText) MarshalJSON() ([]byte, error) { return j, nil }
