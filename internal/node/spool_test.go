package node

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// testRecord is the n-th record of a common job.
func testRecord(n int) job.ExecutionRecord {
	i := at(time.Duration(n) * time.Minute)
	return job.ExecutionRecord{
		ID: fmt.Sprintf("run%06d", n), JobID: fmt.Sprint("job", n%3), TaskID: "default/a", Group: "default", Name: "a", Node: "n1",
		Instant: i, BeginTime: i, EndTime: i.Add(time.Second), Trigger: job.TriggerTimer, Outcome: job.Success, Output: "héllo\n\x00\xff",
	}
}

func openTestSpool(t testing.TB, dir string) *spool {
	t.Helper()
	s, err := openSpoolWith(dir, createUnsynced)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.closed {
			s.close()
		}
	})
	return s
}

func openSpool(dir string) (*spool, error) { return openSpoolWith(dir, createSegment) }

func createUnsynced(path string) (logFile, error) {
	f, err := createSegment(path)
	return unsynced{f}, err
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func begin(t testing.TB, s *spool, n int) {
	t.Helper()
	rec := testRecord(n)
	rec.Outcome = job.Lost
	must(t, s.begin(&rec))
}

func end(t testing.TB, s *spool, n int) {
	t.Helper()
	rec := testRecord(n)
	must(t, s.end(&rec))
}

// memory is what a spool knows, to be compared.
type memory struct {
	open    map[job.RunID]bool // whether its process is known
	cursors map[string]time.Time
	pending []string
}

func (s *spool) remembers() memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := memory{map[job.RunID]bool{}, maps.Clone(s.cursors), nil}
	for id, o := range s.open {
		m.open[id] = o.Process != nil
	}
	for _, p := range s.pending {
		if s.byID[p.id] == p {
			m.pending = append(m.pending, p.id)
		}
	}
	return m
}

func (m memory) diff(o memory) string {
	switch {
	case !maps.Equal(m.open, o.open):
		return fmt.Sprintf("open: %v, want %v", m.open, o.open)
	case !maps.EqualFunc(m.cursors, o.cursors, time.Time.Equal):
		return fmt.Sprintf("cursors: %v, want %v", m.cursors, o.cursors)
	case !slices.Equal(m.pending, o.pending):
		return fmt.Sprintf("pending: %v, want %v", m.pending, o.pending)
	}
	return ""
}

// reopen opens what a spool left on its disk as a new life does.
func (s *spool) reopen(t testing.TB) *spool {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(s.dir)))
	return openTestSpool(t, dir)
}

func (s *spool) wantSurvives(t testing.TB) {
	t.Helper()
	if diff := s.reopen(t).remembers().diff(s.remembers()); diff != "" {
		t.Error(diff)
	}
}

func TestSpoolLines(t *testing.T) {
	s := openTestSpool(t, t.TempDir())
	s.wantSurvives(t)
	begin(t, s, 1)
	s.wantSurvives(t)
	p := &job.Process{ID: "77", Run: "run000001", BootID: "b", StartTicks: 5}
	must(t, s.started(p))
	s.wantSurvives(t)
	end(t, s, 1)
	end(t, s, 2)
	end(t, s, 2) // a record counts once
	begin(t, s, 4)
	s.wantSurvives(t)
	must(t, s.ack([]string{"run000001"}))
	s.wantSurvives(t)
	must(t, s.advance(map[string]time.Time{"job7": at(time.Hour), "job1": at(time.Second)}))
	must(t, s.forget("job2"))
	must(t, s.forget("job2"))
	s.wantSurvives(t)

	r := s.reopen(t)
	if !r.knows("run000002") || !r.knows("run000004") || r.knows("run000001") || r.waiting() != 1 {
		t.Errorf("%+v", r.remembers())
	}
	if got := r.cursor("job1"); !got.Equal(at(4 * time.Minute)) { // the later one stands
		t.Errorf("cursor %s", got)
	}
	if list := r.orphans(); len(list) != 1 || list[0].Record.ID != "run000004" || list[0].Record.Outcome != job.Lost {
		t.Errorf("orphans %+v", list)
	}
	recs, err := r.next(10, 1<<20)
	want := testRecord(2)
	if err != nil || len(recs) != 1 || recs[0].String() != want.String() {
		t.Errorf("%v, %v", recs, err)
	}
}

// Cut anywhere, the log gives back what the whole lines before the cut say: nothing that was acknowledged is forgotten,
// and nothing is invented.
func TestSpoolCutAnywhere(t *testing.T) {
	s := openTestSpool(t, t.TempDir())
	s.rotateAt = 1 << 30
	states := map[int64]memory{}
	note := func() { states[s.size] = s.remembers() }
	note()
	for n := range 12 {
		begin(t, s, n)
		note()
		if n%2 == 0 {
			must(t, s.started(&job.Process{ID: fmt.Sprint(n), Run: job.RunID(testRecord(n).ID)}))
			note()
		}
		if n%4 != 3 {
			end(t, s, n)
			note()
		}
		if n%5 == 4 {
			must(t, s.ack([]string{testRecord(n - 1).ID, testRecord(n - 4).ID}))
			note()
		}
	}
	must(t, s.advance(map[string]time.Time{"job9": at(time.Hour)}))
	note()
	must(t, s.forget("job9"))
	note()
	whole, err := os.ReadFile(s.path(s.seq))
	must(t, err)
	if int64(len(whole)) != s.size {
		t.Fatalf("the log has %d bytes, want %d", len(whole), s.size)
	}
	dir := t.TempDir()
	want := memory{}
	for cut := 0; cut <= len(whole); cut++ {
		m, atLine := states[int64(cut)]
		if atLine {
			want = m
		}
		if _, next := states[int64(cut+1)]; !atLine && !next && cut%7 != 0 {
			continue
		}
		for _, f := range spoolFiles(t, dir) {
			must(t, os.Remove(f))
		}
		must(t, os.WriteFile(filepath.Join(dir, "00000001.log"), whole[:cut], 0o600))
		r, err := openSpoolWith(dir, createUnsynced)
		must(t, err)
		diff := r.remembers().diff(want)
		end(t, r, 99) // and it goes on
		if !slices.Contains(r.remembers().pending, "run000099") {
			diff += "; it takes nothing more"
		}
		must(t, r.close())
		if diff != "" {
			t.Fatalf("cut at %d: %s", cut, diff)
		}
	}
}

// A new segment begins with what must not be forgotten, and old ones go when their records have gone, in whatever order.
func TestSpoolRotation(t *testing.T) {
	s := openTestSpool(t, t.TempDir())
	begin(t, s, 1000)
	must(t, s.started(&job.Process{ID: "1", Run: "run001000"}))
	turn := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		must(t, s.rotate())
	}
	segments := func() int { return len(spoolFiles(t, s.dir)) }
	for n := range 30 {
		end(t, s, n)
		if n%10 == 9 {
			turn()
			s.wantSurvives(t)
		}
	}
	if segments() != 4 {
		t.Fatalf("%d segments", segments())
	}
	acked := func(from, to int) {
		var ids []string
		for n := to - 1; n >= from; n-- { // out of order
			ids = append(ids, testRecord(n).ID)
		}
		must(t, s.ack(ids))
	}
	acked(10, 20) // the second segment alone is empty; it acknowledges nothing, but what stands behind the first may
	turn()
	s.wantSurvives(t)
	acked(1, 10)
	acked(25, 30)
	turn()
	s.wantSurvives(t)
	if got := s.remembers().pending; !slices.Equal(got, []string{"run000000", "run000020", "run000021", "run000022", "run000023", "run000024"}) {
		t.Errorf("pending %v", got)
	}
	acked(0, 1)
	turn()
	s.wantSurvives(t)
	if segments() > 5 { // what stands behind the second half of the third
		t.Errorf("%d segments", segments())
	}
	acked(20, 25)
	turn()
	s.wantSurvives(t)
	if segments() != 1 || s.waiting() != 0 {
		t.Errorf("%d segments, %d records", segments(), s.waiting())
	}
	if list := s.orphans(); len(list) != 1 || list[0].Process == nil {
		t.Errorf("the open run is forgotten: %+v", list)
	}
	// A line that is written just as a segment is full stands where the spool believes it.
	s.mu.Lock()
	s.rotateAt, s.cached = 1, maxCached
	s.mu.Unlock()
	end(t, s, 50)
	if recs, err := s.next(1, 1); err != nil || len(recs) != 1 || recs[0].ID != "run000050" {
		t.Errorf("%v, %v", recs, err)
	}
}

// 100,000 records that wait take little memory, and come back in their order.
func TestSpoolMemory(t *testing.T) {
	const total = 100_000
	s := openTestSpool(t, t.TempDir())
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	output := strings.Repeat("x", 500)
	for n := range total {
		rec := testRecord(n)
		rec.Output = output
		must(t, s.end(&rec))
	}
	if used := (heap() - before) / total; used > 400 {
		t.Errorf("%d bytes a record", used)
	}
	if s.cached > maxCached || s.cachedBytes > maxCachedBytes {
		t.Errorf("%d records of %d bytes are kept in memory", s.cached, s.cachedBytes)
	}
	next := 0
	for {
		recs, err := s.next(batchRecords, batchBytes)
		must(t, err)
		if len(recs) == 0 {
			break
		}
		for _, r := range recs {
			if r.ID != fmt.Sprintf("run%06d", next) {
				t.Fatalf("%s comes as number %d", r.ID, next)
			}
			next++
		}
		must(t, s.ack(ids(recs)))
	}
	if next != total || s.cached != 0 || s.cachedBytes != 0 || len(s.pending) != 0 {
		t.Errorf("%d came; %d are cached, %d bytes, %d pending", next, s.cached, s.cachedBytes, len(s.pending))
	}
	// Large ones are bounded by their size.
	output = strings.Repeat("x", 100<<10)
	for n := range 400 {
		rec := testRecord(n)
		rec.Output = output
		must(t, s.end(&rec))
	}
	if s.cachedBytes > maxCachedBytes || s.cached > 200 {
		t.Errorf("%d records of %d bytes are kept in memory", s.cached, s.cachedBytes)
	}
}

// A run that an earlier life of the agent ended stays known when its record is handed over: word of its dispatch, read before that,
// may come after it.
func TestSpoolKnowsWhatItInherited(t *testing.T) {
	s := openTestSpool(t, t.TempDir())
	for n, trigger := range []job.Trigger{job.TriggerRun, job.TriggerRun, job.TriggerTimer} {
		rec := testRecord(n)
		rec.Trigger = trigger
		must(t, s.begin(&rec))
		if n > 0 {
			must(t, s.end(&rec))
		}
	}
	r := s.reopen(t)
	rec := testRecord(0)
	must(t, r.end(&rec))
	must(t, r.ack([]string{testRecord(0).ID, testRecord(1).ID, testRecord(2).ID}))
	if !r.knows("run000000") || !r.knows("run000001") || r.knows("run000002") {
		t.Errorf("it knows of %v", r.inherited)
	}
	if r = r.reopen(t); len(r.inherited) > 0 {
		t.Errorf("another life still knows of %v", r.inherited)
	}
}
