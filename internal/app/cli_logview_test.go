package app

import (
	"bytes"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func TestLogView(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC)
	r := &job.ExecutionRecord{Output: "a\nb\xffE1\nE2\nc\n[... 9 bytes left out ...]\nz\n", OutputParts: []job.OutputPart{
		{At: 0, Stream: job.Stdout, Time: at}, {At: 4, Stream: job.Stderr, Time: at.Add(time.Second)},
		{At: 10, Stream: job.Stdout, Time: at.Add(2 * time.Second)}, {At: 12}, {At: 39, Stream: "", Time: at.Add(time.Minute), Merged: 3},
	}}
	for name, c := range map[string]struct {
		view  logView
		want  string
		apart bool
	}{
		"as it is": {logView{}, r.Output, false},
		"stdout":   {logView{stdout: true}, "a\nb\xffc\n[... 9 bytes left out ...]\nz\n", true},
		"stderr":   {logView{stderr: true}, "E1\nE2\n[... 9 bytes left out ...]\nz\n", true},
		"timestamps": {logView{stamps: true, zone: time.UTC}, "2026-03-04T05:06:07.008Z out a\n2026-03-04T05:06:07.008Z out b\xff\n" +
			"2026-03-04T05:06:08.008Z err E1\n2026-03-04T05:06:08.008Z err E2\n2026-03-04T05:06:09.008Z out c\n" +
			"                             [... 9 bytes left out ...]\n2026-03-04T05:07:07.008Z     z\n", false},
	} {
		var b bytes.Buffer
		if err := c.view.record(&b, r); err != nil || b.String() != c.want {
			t.Errorf("%s: found\n%q\nwant\n%q, %v", name, b.String(), c.want, err)
		}
		if (c.view.apart(r) != "") != c.apart {
			t.Errorf("%s: %q", name, c.view.apart(r))
		}
	}
	old := &job.ExecutionRecord{Output: "of an older node\n"}
	var b bytes.Buffer
	v := logView{stderr: true}
	if err := v.record(&b, old); err != nil || b.String() != old.Output || v.apart(old) == "" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
