package master_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rota-dev/rota/client"
	"github.com/rota-dev/rota/internal/master"
	"github.com/rota-dev/rota/job"
)

// logNode is a node that has the logs of one run and sends them to masters that ask.
type logNode struct {
	w     *world
	m     *life
	mu    sync.Mutex
	logs  map[int][]byte // by attempt
	ended map[int]bool
	gone  bool
	calls int // how many batches with output were sent
	seen  map[string]*job.Follow
}

// logging starts a run on node n1, with a node that answers m.
func (w *world) logging(m *life) *logNode {
	n := &logNode{w: w, m: m, logs: map[int][]byte{}, ended: map[int]bool{}, seen: map[string]*job.Follow{}}
	ctx, cancel := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for batch := range w.admin.Follows().Watch(ctx, "n1").Events() {
			for _, e := range batch {
				if e.Value == nil || n.note(e.Value) {
					continue
				}
				f := e.Value
				wg.Go(func() { n.send(ctx, f) })
			}
		}
	})
	w.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return n
}

func (n *logNode) note(f *job.Follow) (known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known = n.seen[f.ID] != nil
	n.seen[f.ID] = f
	return known
}

// follows counts what the node has been asked for.
func (n *logNode) follows() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.seen)
}

func (n *logNode) write(attempt int, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.logs[attempt] = append(n.logs[attempt], text...)
}

func (n *logNode) end(attempt int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended[attempt] = true
}

// send sends what a follow wants until nothing is wanted any more.
func (n *logNode) send(ctx context.Context, f *job.Follow) {
	b := &job.LogBatch{}
	for ctx.Err() == nil {
		w, err := n.m.TakeLog(ctx, f.ID, f.Token, b)
		if err != nil || w.Over {
			return
		}
		if b = (&job.LogBatch{}); !w.Hold {
			b = n.batch(w.At)
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *logNode) batch(at job.LogPosition) *job.LogBatch {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := &job.LogBatch{At: at}
	log, known := n.logs[at.Attempt]
	for a := range n.logs {
		if !known && a > at.Attempt {
			b.Missing, b.Next = true, a
		}
	}
	if !known {
		b.Gone = n.gone && b.Next == 0
		b.Missing = b.Missing || b.Gone
		return b
	}
	const piece, most = 8 << 10, job.MaxLogBatch
	for off := at.Offset; off < int64(len(log)) && off-at.Offset < most; off += piece {
		b.Chunks = append(b.Chunks, job.Chunk{Offset: off, Stream: job.Stdout, Data: log[off:min(off+piece, int64(len(log)))]})
	}
	if len(b.Chunks) > 0 {
		n.calls++
		return b
	}
	b.Quiet, b.Complete = true, n.ended[at.Attempt]
	return b
}

// running puts a run of node n1 there.
func (w *world) running(run job.RunID, attempt int) (end func(job.ExecutionRecord)) {
	w.t.Helper()
	s, err := w.admin.Join(w.ctx, job.Presence{Node: "n1", Session: "s1", Since: time.Now()}, lease)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close(context.Background()) })
	p := &job.Process{ID: "7", JobID: "j1", Group: "default", Name: "a", NodeID: "n1", Run: run, Attempt: attempt, Time: time.Now().UTC()}
	s.SetProcess(p)
	w.until("the process is there", func() bool {
		n, err := w.admin.Processes().Count(w.ctx)
		return err == nil && n == 1
	})
	synctest.Wait()
	return func(r job.ExecutionRecord) {
		r.ID, r.Group, r.Name, r.TaskID, r.Node, r.JobID = string(run), "default", "a", "default/a", "n1", "j1"
		r.Trigger, r.BeginTime, r.EndTime = job.TriggerRun, time.Now().UTC(), time.Now().UTC()
		if _, err := w.db.Insert(w.ctx, []job.ExecutionRecord{r}); err != nil {
			w.t.Error(err)
		}
		s.UnsetProcess(p)
	}
}

// reader follows a log and keeps what it is told.
type reader struct {
	mu     sync.Mutex
	text   bytes.Buffer
	events []client.LogEvent // but for output
	at     job.LogPosition
	err    error
	done   chan struct{}
	pause  chan struct{} // not nil: it reads on when this is closed
}

func (w *world) read(ctx context.Context, m *life, r master.LogRequest, pause chan struct{}) *reader {
	x := &reader{done: make(chan struct{}), pause: pause}
	go func() {
		defer close(x.done)
		x.err = m.Log(ctx, r, x.event)
	}()
	return x
}

func (x *reader) event(e client.LogEvent) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e.Type {
	case "":
		return nil
	case client.LogOutput:
		if pause := x.pause; pause != nil {
			x.mu.Unlock()
			<-pause
			x.mu.Lock()
		}
		if e.Chunk.End() != e.At.Offset {
			return fmt.Errorf("a chunk that ends at %d goes on at %s", e.Chunk.End(), e.At)
		}
		x.text.Write(e.Chunk.Data)
	default:
		x.events = append(x.events, e)
	}
	x.at = e.At
	return nil
}

func (x *reader) read() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}

// told are the types and texts of all events but output.
func (x *reader) told() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []string
	for _, e := range x.events {
		all = append(all, strings.Join(strings.Fields(e.Type+" "+e.Text+" "+string(e.Outcome)), " "))
	}
	return strings.Join(all, "; ")
}

// numbered are lines that tell a gap or a double.
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %07d\n", i)
	}
	return b.String()
}

// What a run writes comes as it is written, of one attempt after the other, and the stream ends with how the run ended.
func TestLogOfARunThatIsAlive(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		end := w.running("r1", 1)
		n := w.logging(m)
		n.write(1, "one\n")
		x := w.read(w.ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil)
		w.until("it is shown", func() bool { return x.read() == "one\n" })
		n.write(1, "two\n")
		w.until("what follows is shown", func() bool { return x.read() == "one\ntwo\n" })
		n.end(1)
		n.write(2, "again\n")
		w.until("the next attempt is shown", func() bool { return strings.HasSuffix(x.read(), "again\n") })
		n.end(2)
		code := 3
		end(job.ExecutionRecord{Attempt: 2, Outcome: job.Failed, ExitCode: &code, Output: "again\n", OutputBytes: 6, Attempts: []job.Attempt{{Attempt: 1, Output: "one\ntwo\n"}}})
		<-x.done
		last := x.events[len(x.events)-1]
		if x.err != nil || x.read() != "one\ntwo\nagain\n" || x.told() != "attempt; end failed" {
			t.Errorf("%q, told %q, %v", x.read(), x.told(), x.err)
		}
		if last.ExitCode == nil || *last.ExitCode != 3 || last.Run.Record.Outcome != job.Failed || last.Run.Record.Output != "" {
			t.Errorf("the end is %+v", last)
		}
		w.until("the node is not asked any more", func() bool {
			n, err := w.admin.Follows().Count(w.ctx)
			return err == nil && n == 0
		})
	})
}

// Who goes on where he stood misses nothing and reads nothing twice, at another master too.
func TestLogGoesOnAtAnotherMaster(t *testing.T) {
	inWorld(t, func(w *world) {
		m1, m2 := w.leader("m1"), w.master("m2")
		w.until("m2 is ready", func() bool { return m2.Ready(w.ctx) == nil })
		end := w.running("r1", 1)
		n1, n2 := w.logging(m1), w.logging(m2)
		for _, n := range []*logNode{n1, n2} {
			n.write(1, numbered(0, 500))
		}
		x := w.read(w.ctx, m1, master.LogRequest{Run: "r1", Follow: true}, nil)
		w.until("half is shown", func() bool { return x.read() == numbered(0, 500) })
		m1.end()
		<-x.done
		if x.err == nil {
			t.Error("the stream of a master that stopped looks complete")
		}
		n2.write(1, numbered(500, 1000))
		n2.end(1)
		y := w.read(w.ctx, m2, master.LogRequest{Run: "r1", From: x.at, Follow: true}, nil)
		w.until("the rest is shown", func() bool { return len(y.read()) == len(numbered(500, 1000)) })
		end(job.ExecutionRecord{Attempt: 1, Outcome: job.Success, OutputTruncated: true})
		<-y.done
		if got := x.read() + y.read(); got != numbered(0, 1000) || y.told() != "end success" {
			t.Errorf("%d bytes of %d, told %q", len(got), len(numbered(0, 1000)), y.told())
		}
	})
}

// Followers who are near each other share what the node sends; one that is slow holds up neither them nor the node, costs the master
// no more than its window, and misses nothing.
func TestSlowFollowerHoldsUpNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		end := w.running("r1", 1)
		n := w.logging(m)
		whole := numbered(0, 400_000) // five windows
		n.write(1, whole)
		resume := make(chan struct{})
		slow := w.read(w.ctx, m, master.LogRequest{Run: "r1", Follow: true}, resume)
		w.until("the slow one has begun", func() bool { return n.follows() == 1 })
		synctest.Wait()
		var quick []*reader
		for range 3 {
			quick = append(quick, w.read(w.ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil))
		}
		for _, x := range quick {
			w.until("the others have read all", func() bool { return len(x.read()) == len(whole) })
		}
		if sent := n.calls * job.MaxLogBatch; sent > 2*len(whole) {
			t.Errorf("the node sent %d bytes for three followers of %d", sent, len(whole))
		}
		if kept := m.LogBytes(); kept > 4*(1<<20+2*job.MaxLogBatch) {
			t.Errorf("the master keeps %d bytes", kept)
		}
		close(resume)
		w.until("the slow one has read all", func() bool { return len(slow.read()) == len(whole) })
		n.end(1)
		end(job.ExecutionRecord{Attempt: 1, Outcome: job.Success, OutputTruncated: true})
		for _, x := range append(quick, slow) {
			<-x.done
			if x.err != nil || x.read() != whole || x.told() != "end success" {
				t.Errorf("%d bytes, told %q, %v", len(x.read()), x.told(), x.err)
			}
		}
		if m.LogBytes() != 0 {
			t.Error("something is kept although nobody follows")
		}
	})
}

// The token of a follow opens that follow alone, and what is not in order is refused.
func TestLogOfAnotherIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.running("r1", 1)
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		for range 2 {
			x := w.read(ctx, m, master.LogRequest{Run: "r1", From: job.LogPosition{Attempt: 1, Offset: int64(m.LogFeeds()) * 100}, Follow: true}, nil)
			defer func() { cancel(); <-x.done }()
			synctest.Wait()
			time.Sleep(time.Second)
		}
		fs, _, err := w.admin.Follows().List(w.ctx, "n1")
		if err != nil || len(fs) != 2 || fs[0].Token == fs[1].Token {
			t.Fatalf("%v, %v", fs, err)
		}
		at, err := m.TakeLog(w.ctx, fs[0].ID, fs[0].Token, &job.LogBatch{})
		if err != nil || at.Hold {
			t.Fatal(at, err)
		}
		good := &job.LogBatch{At: at.At, Chunks: []job.Chunk{{Offset: at.At.Offset, Stream: job.Stdout, Data: []byte("x")}}}
		for what, c := range map[string]struct{ id, token string }{
			"another's token": {fs[0].ID, fs[1].Token}, "no token": {fs[0].ID, ""}, "no follow": {"none", fs[0].Token},
		} {
			if _, err := m.TakeLog(w.ctx, c.id, c.token, good); job.CodeOf(err) != job.CodeUnauthorized {
				t.Errorf("%s: %v", what, err)
			}
		}
		for what, b := range map[string]*job.LogBatch{
			"too much":       {At: at.At, Chunks: []job.Chunk{{Offset: at.At.Offset, Stream: job.Stdout, Data: make([]byte, job.MaxLogBatch+1)}}},
			"too many":       {At: at.At, Chunks: make([]job.Chunk, job.MaxLogChunks+1)},
			"out of order":   {At: at.At, Chunks: []job.Chunk{{Offset: at.At.Offset + 1}, {Offset: at.At.Offset}}},
			"no such stream": {At: at.At, Chunks: []job.Chunk{{Offset: at.At.Offset, Stream: "stdin"}}},
			"far attempts":   {At: at.At, Missing: true, Next: 1 << 40},
		} {
			if _, err := m.TakeLog(w.ctx, fs[0].ID, fs[0].Token, b); job.CodeOf(err) != job.CodeInvalid {
				t.Errorf("%s: %v", what, err)
			}
		}
		for range 2 { // the second time its answer was lost
			if now, err := m.TakeLog(w.ctx, fs[0].ID, fs[0].Token, good); err != nil || now.At.Offset != at.At.Offset+1 {
				t.Errorf("%+v, %v", now, err)
			}
		}
	})
}

// A node that does not come through ends the wait in a bounded time, with what mends it.
func TestLogOfANodeThatDoesNotCall(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		end := w.running("r1", 1)
		began := time.Now()
		x := w.read(w.ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil)
		<-x.done
		var e *job.Error
		if !errors.As(x.err, &e) || e.Code != job.CodeUnavailable || !strings.Contains(e.Hint, "--advertise") || time.Since(began) > 20*time.Second {
			t.Errorf("after %s: %v", time.Since(began), x.err)
		}
		// Of a run that has ended there is what its record has.
		end(job.ExecutionRecord{Attempt: 1, Outcome: job.Success, Output: "head\n[... 1000 bytes left out ...]\ntail\n", OutputBytes: 1010, OutputTruncated: true})
		w.until("it has ended", func() bool {
			v, err := m.RunState(w.ctx, "r1")
			return err == nil && v.Ended()
		})
		y := w.read(w.ctx, m, master.LogRequest{Run: "r1"}, nil)
		<-y.done
		if y.err != nil || y.read() != "head\ntail\n" || !strings.Contains(y.told(), "1000 bytes are not kept") || !strings.HasSuffix(y.told(), "end success") {
			t.Errorf("%q, told %q, %v", y.read(), y.told(), y.err)
		}
		z := w.read(w.ctx, m, master.LogRequest{Run: "r1", From: job.LogPosition{Attempt: 1, Offset: 1007}}, nil)
		<-z.done
		if z.read() != "il\n" {
			t.Errorf("from the middle of the tail: %q", z.read())
		}
	})
}

// What a log itself says to be missing is told once, in its words; what else is missing, as bytes.
func TestLogSaysOnceWhatIsMissing(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.running("r1", 1)
		x := w.read(w.ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil)
		var f *job.Follow
		w.until("it is asked for", func() bool {
			fs, _, err := w.admin.Follows().List(w.ctx, "n1")
			if err == nil && len(fs) > 0 {
				f = fs[0]
			}
			return f != nil
		})
		_, err := m.TakeLog(w.ctx, f.ID, f.Token, &job.LogBatch{At: job.LogPosition{Attempt: 1}, Chunks: []job.Chunk{
			{Offset: 0, Stream: job.Stdout, Data: []byte("a\n")},
			{Offset: 12, Note: "10 bytes: the disk was full"},
			{Offset: 12, Stream: job.Stdout, Data: []byte("b\n")},
			{Offset: 20, Stream: job.Stdout, Data: []byte("c\n")},
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.until("all is shown", func() bool { return x.read() == "a\nb\nc\n" })
		if told := x.told(); strings.Count(told, "10 bytes") != 1 || strings.Count(told, "6 bytes are not kept") != 1 || strings.Count(told, "bytes") != 2 {
			t.Errorf("told %q", told)
		}
	})
}

// A run whose node has died is waited for, for a while, and the reader is told.
func TestLogOfANodeThatDied(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		n := w.logging(m)
		n.write(1, "one\n")
		s := w.mem.Client("dead")
		ss, err := s.Join(w.ctx, job.Presence{Node: "n1", Session: "s1", Since: time.Now()}, lease)
		if err != nil {
			t.Fatal(err)
		}
		ss.SetProcess(&job.Process{ID: "7", JobID: "j1", Group: "default", Name: "a", NodeID: "n1", Run: "r1", Attempt: 1, Time: time.Now().UTC()})
		w.until("the process is there", func() bool {
			v, err := m.RunState(w.ctx, "r1")
			return err == nil && v.Process != nil
		})
		x := w.read(w.ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil)
		w.until("it is shown", func() bool { return x.read() == "one\n" })
		w.mem.Cut("dead")
		defer s.Close()
		<-x.done
		if x.err != nil && !job.IsNotFound(x.err) || !strings.Contains(x.told(), "n1 is offline") {
			t.Errorf("told %q, %v", x.told(), x.err)
		}
	})
}

// A log that is not there any more is told from the record, and so is one that never was.
func TestLogThatIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		end := w.running("r1", 2)
		n := w.logging(m)
		n.gone = true
		end(job.ExecutionRecord{
			Attempt: 2, Outcome: job.Success, Output: "short\n", OutputBytes: 6,
			Attempts: []job.Attempt{{Attempt: 1, Output: "first\n"}},
		})
		w.until("it has ended", func() bool {
			v, err := m.RunState(w.ctx, "r1")
			return err == nil && v.Ended()
		})
		x := w.read(w.ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil)
		<-x.done
		if x.err != nil || x.read() != "first\nshort\n" || x.told() != "attempt; end success" {
			t.Errorf("%q, told %q, %v", x.read(), x.told(), x.err)
		}
	})
}

// Without following, a log ends with what was written so far; of a run that waits for its start there is nothing yet.
func TestLogSoFar(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.running("r1", 1)
		n := w.logging(m)
		n.write(1, "so far\n")
		x := w.read(w.ctx, m, master.LogRequest{Run: "r1"}, nil)
		<-x.done
		if x.err != nil || x.read() != "so far\n" || x.told() != "end" || x.events[0].Run.State != job.StateRunning {
			t.Errorf("%q, told %q, %v", x.read(), x.told(), x.err)
		}
		if err := m.Log(w.ctx, master.LogRequest{Run: "none"}, func(client.LogEvent) error { return nil }); !job.IsNotFound(err) {
			t.Errorf("a run that is not there: %v", err)
		}
	})
}

// A master that has all the followers it may have says so.
func TestTooManyFollowers(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.leader("m1")
		w.running("r1", 1)
		ctx, cancel := context.WithCancel(w.ctx)
		var all []*reader
		for range 256 {
			all = append(all, w.read(ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil))
		}
		synctest.Wait()
		if m.LogFeeds() != 1 {
			t.Errorf("%d uploads for followers of the same", m.LogFeeds())
		}
		one := w.read(ctx, m, master.LogRequest{Run: "r1", Follow: true}, nil)
		<-one.done
		if job.CodeOf(one.err) != job.CodeExhausted {
			t.Errorf("%v", one.err)
		}
		cancel()
		for _, x := range all {
			<-x.done
		}
		if m.LogFeeds() != 0 {
			t.Error("an upload outlives its followers")
		}
	})
}
