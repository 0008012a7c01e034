package job_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/rota-dev/rota/job"
)

// ancestor 42: output that was not text, or too much, cost the record.
func TestOutputOfAnyBytesSurvivesJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		out := string(rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "output"))
		r := job.ExecutionRecord{ID: "x", Outcome: job.Failed, Output: out, Attempts: []job.Attempt{{Attempt: 1, Output: out}}}
		b, err := json.Marshal(r)
		if err != nil || !utf8.Valid(b) {
			t.Fatal(err)
		}
		if has := strings.Contains(string(b), `"output_base64"`); has == utf8.ValidString(out) {
			t.Fatalf("%q became %s", out, b)
		}
		back, err := job.ParseExecutionRecord(b)
		if err != nil || back.Output != out || back.OutputBase64 != nil || back.Attempts[0].Output != out || back.Attempts[0].OutputBase64 != nil {
			t.Fatalf("%q became %+v, %v", out, back, err)
		}
	})
	b, err := json.Marshal(&job.ExecutionRecord{Output: "a\x00\xff\xfeb"})
	if err != nil || !strings.Contains(string(b), `"output":"a\u0000`+"\uFFFD"+`b"`) || !strings.Contains(string(b), `"output_base64":"YQD//mI="`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestChunkInJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, c := range []struct {
		chunk job.Chunk
		want  string
	}{
		{job.Chunk{Offset: 5, Stream: job.Stderr, Time: at, Data: []byte("é\x00")}, `{"offset":5,"stream":"stderr","time":"2026-03-04T05:06:07Z","data":"é\u0000"}`},
		{job.Chunk{Stream: job.Stdout, Time: at, Data: []byte{0xff, 0}}, `{"offset":0,"stream":"stdout","time":"2026-03-04T05:06:07Z","data_base64":"/wA="}`},
		{job.Chunk{Offset: 7, Time: at, Note: "2 bytes are missing"}, `{"offset":7,"time":"2026-03-04T05:06:07Z","note":"2 bytes are missing"}`},
	} {
		b, err := json.Marshal(c.chunk)
		if err != nil || string(b) != c.want {
			t.Errorf("found %s, want %s, %v", b, c.want, err)
		}
		var back job.Chunk
		if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, c.chunk) {
			t.Errorf("%s became %+v, %v", b, back, err)
		}
	}
}

// Whatever is cut: every byte that stays has the stream and the time that it had.
func TestCutOutputKeepsThePartsOfWhatStays(t *testing.T) {
	t.Parallel()
	const mark = "|cut|"
	rapid.Check(t, func(t *rapid.T) {
		r := job.ExecutionRecord{}
		owner := map[byte]job.OutputPart{} // each byte value is written once
		for i := range rapid.IntRange(0, 12).Draw(t, "parts") {
			p := job.OutputPart{At: len(r.Output), Stream: job.Streams[i%2], Time: time.Unix(int64(i+1), 0).UTC()}
			r.OutputParts = append(r.OutputParts, p)
			for range rapid.IntRange(1, 9).Draw(t, "bytes") {
				b := byte(128 + len(r.Output)%128)
				if rapid.Bool().Draw(t, "ascii") {
					b -= 128
				}
				r.Output += string([]byte{b})
				owner[b] = p
			}
		}
		all := r.Output
		head, tail := rapid.IntRange(0, 40).Draw(t, "head"), rapid.IntRange(0, 40).Draw(t, "tail")
		r.CutOutput(head, tail, mark)
		if len(all) <= head+tail {
			if r.Output != all || r.OutputTruncated {
				t.Fatalf("%q became %q", all, r.Output)
			}
			return
		}
		before, after, found := strings.Cut(r.Output, mark)
		if !found || !strings.HasPrefix(all, before) || !strings.HasSuffix(all, after) || len(before) > head || len(before) < head-4 ||
			len(after) > tail || len(after) < tail-4 || !r.OutputTruncated {
			t.Fatalf("%q, %d and %d, became %q", all, head, tail, r.Output)
		}
		var text bytes.Buffer
		for _, p := range r.Pieces() {
			text.WriteString(p.Text)
			if p.Text == mark {
				if p.Stream != "" || !p.Time.IsZero() {
					t.Fatalf("the mark is %+v", p)
				}
				continue
			}
			for _, b := range []byte(p.Text) {
				if own := owner[b]; p.Stream != own.Stream || !p.Time.Equal(own.Time) {
					t.Fatalf("byte %d of %+v in %+v", b, own, p)
				}
			}
		}
		if text.String() != r.Output {
			t.Fatalf("the pieces of %q are %q", r.Output, text.String())
		}
	})
}

func TestPiecesOfARecordThatSaysNonsense(t *testing.T) {
	t.Parallel()
	for _, parts := range [][]job.OutputPart{nil, {{At: 90}}, {{At: -1}}, {{At: 2}, {At: 1}}, {{At: 0}, {At: 4}}} {
		r := job.ExecutionRecord{Output: "abc", OutputParts: parts}
		if list := r.Pieces(); len(list) != 1 || list[0].Text != "abc" {
			t.Errorf("%+v: %+v", parts, list)
		}
	}
}
