package api

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rota-dev/rota/job"
)

// So many at once, then so many a second, each by itself; time that goes back gives nothing and takes nothing.
func TestBuckets(t *testing.T) {
	t.Parallel()
	var b buckets
	now := time.Unix(1000, 0)
	burst := func(who string, at time.Time) (n int) {
		for b.take(who, 20, 0.5, at) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		who   string
		after time.Duration
		want  int
	}{
		{"a", 0, 20}, {"a", time.Second, 0}, {"a", 2 * time.Second, 1}, {"a", 9 * time.Second, 3}, {"b", 9 * time.Second, 20},
		{"a", 24 * time.Hour, 20}, {"a", 24*time.Hour - time.Second, 0}, {"a", 24*time.Hour + 3*time.Second, 1},
	} {
		if n := burst(step.who, now.Add(step.after)); n != step.want {
			t.Errorf("%s after %s: %d, want %d", step.who, step.after, n, step.want)
		}
	}
	for i := range maxPingers + 10 {
		b.take(fmt.Sprint("from ", i), 20, 0.5, now)
	}
	if n := len(b.of); n > maxPingers {
		t.Errorf("%d are remembered", n)
	}
}

// endless is a body without an end, and counts what was read of it.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.n += int64(len(p))
	return len(p), nil
}

// Of what a ping brings, the beginning and the end are kept, whatever came of it, and it is told how much it was.
func TestReadOutput(t *testing.T) {
	t.Parallel()
	long := "begin" + strings.Repeat("m", 3*job.MaxPingOutput) + "end"
	for name, c := range map[string]struct {
		body io.Reader
		want func(got string, n int64) bool
	}{
		"nothing": {strings.NewReader(""), func(got string, n int64) bool { return got == "" && n == 0 }},
		"short":   {strings.NewReader("all well\n"), func(got string, n int64) bool { return got == "all well\n" && n == 9 }},
		"as long as may be": {strings.NewReader(strings.Repeat("y", job.MaxPingOutput)), func(got string, n int64) bool {
			return got == strings.Repeat("y", job.MaxPingOutput) && n == job.MaxPingOutput
		}},
		"long": {strings.NewReader(long), func(got string, n int64) bool {
			return strings.HasPrefix(got, "begin") && strings.HasSuffix(got, "end") && len(got) == job.MaxPingOutput && n == int64(len(long))
		}},
		"byte by byte": {iotest.OneByteReader(strings.NewReader(long)), func(got string, n int64) bool {
			return strings.HasPrefix(got, "begin") && strings.HasSuffix(got, "end") && len(got) == job.MaxPingOutput && n == int64(len(long))
		}},
		"broken off": {io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("gone"))), func(got string, n int64) bool {
			return got == "half" && n == 4
		}},
	} {
		if got, n := readOutput(c.body); !c.want(got, n) {
			t.Errorf("%s: %d bytes of %d: %.20q…", name, len(got), n, got)
		}
	}
	e := &endless{}
	if got, _ := readOutput(e); len(got) != job.MaxPingOutput || e.n > maxBody+64<<10 {
		t.Errorf("%d bytes were kept and %d read of a body without an end", len(got), e.n)
	}
}
