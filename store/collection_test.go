package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

func TestEditsCompareAndSwap(t *testing.T) { // ancestors 18, 19, 49
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		e := testTask("backup")
		rev, err := s.Tasks().Put(ctx, e)
		if err != nil || e.Revision != 0 {
			t.Fatal(rev, e.Revision, err)
		}
		if _, err := s.Tasks().Put(ctx, e); !job.IsConflict(err) || !strings.Contains(err.Error(), "exists already") {
			t.Errorf("made twice: %v", err)
		}
		one, two := must(s.Tasks().Get(ctx, "default", "backup")), must(s.Tasks().Get(ctx, "default", "backup"))
		if one.Revision != rev || one.Task.Command.String() != "/bin/true" {
			t.Errorf("read: %+v", one)
		}
		one.Paused = true
		if next, err := s.Tasks().Put(ctx, one); err != nil || next <= rev {
			t.Errorf("edited: %d, %v", next, err)
		}
		if _, err := s.Tasks().Put(ctx, two); !job.IsConflict(err) || !strings.Contains(err.Error(), "has changed since it was read") {
			t.Errorf("a stale edit: %v", err)
		}
		if err := s.Tasks().Delete(ctx, rev, "default", "backup"); !job.IsConflict(err) {
			t.Errorf("a stale delete: %v", err)
		}
		if err := s.Tasks().Delete(ctx, 0, "default", "backup"); err != nil {
			t.Error(err)
		}
		if _, err := s.Tasks().Put(ctx, two); !job.IsConflict(err) || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("a stale edit brought a task back: %v", err)
		}
		if err := s.Tasks().Delete(ctx, 0, "default", "backup"); !job.IsNotFound(err) {
			t.Errorf("deleted twice: %v", err)
		}
		if _, err := s.Tasks().Get(ctx, "default", "backup"); !job.IsNotFound(err) {
			t.Errorf("read what is gone: %v", err)
		}
		if _, err := s.Tasks().Put(ctx, testTask("../backup")); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("an unsafe name: %v", err)
		}
	})
}

func TestDeleteIsExact(t *testing.T) { // ancestor 55
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		for _, name := range []string{"task1", "task10", "task1.a"} {
			must(s.Tasks().Put(ctx, testTask(name)))
			must(s.Config().Put(ctx, &Config{Group: name, Key: "K", Value: "v"}))
		}
		if err := s.Tasks().Delete(ctx, 0, "default", "task1"); err != nil {
			t.Fatal(err)
		}
		must(s.Do(ctx, DeleteJob("n1", "task1", 0), DropFloor(job.Ref("", "task1"), day)))
		if n := must(s.Tasks().Count(ctx)); n != 2 {
			t.Errorf("%d tasks are left", n)
		}
		list, _, err := s.Config().List(ctx, "task1")
		if err != nil || len(list) != 1 || list[0].Group != "task1" {
			t.Errorf("a prefix is a whole name: %v, %v", list, err)
		}
		must(s.Config().Put(ctx, &Config{Key: "K", Value: "global"}))
		if c := must(s.Config().Get(ctx, "", "K")); c.Value != "global" || c.Group != "" {
			t.Errorf("%+v", c)
		}
		if list, _, _ := s.Config().List(ctx, ""); len(list) != 1 {
			t.Errorf("the global ones: %v", list)
		}
		if list, _, _ := s.Config().List(ctx); len(list) != 4 {
			t.Errorf("all: %v", list)
		}
	})
}

func TestListsPageAtOneRevision(t *testing.T) { // ancestor 43
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		const n = pageSize + largestPageSize + 17
		ops := make([]Op, n)
		for i := range ops {
			ops[i] = PutConfig(&Config{Group: "g", Key: fmt.Sprintf("K%05d", i), Value: "v"}, 0)
		}
		for _, ok := range must(s.Do(ctx, ops...)) {
			if !ok {
				t.Fatal("not made")
			}
		}
		list, rev, err := s.Config().List(ctx)
		if err != nil || len(list) != n || rev == 0 || list[n-1].Key != fmt.Sprintf("K%05d", n-1) {
			t.Fatal(len(list), rev, err)
		}
		pages := 0
		for page, err := range s.Config().Pages(ctx, 500, "g") {
			if err != nil {
				t.Fatal(err)
			}
			if pages == 0 { // later pages do not see what comes later
				must(s.Do(ctx, PutConfig(&Config{Group: "g", Key: "Z", Value: "v"}, 0)))
			}
			if pages += len(page); len(page) > 500 {
				t.Errorf("%d keys is a page of 500", len(page))
			}
		}
		if pages != n {
			t.Errorf("%d in pages", pages)
		}
		if first := must(s.Config().First(ctx, 3, "g")); len(first) != 3 || first[2].Revision == 0 || first[2].Key != "config/group/g/K00002" {
			t.Errorf("%+v", first)
		}
		if n := must(s.Config().Count(ctx, "g")); n != int64(pages+1) {
			t.Errorf("%d counted", n)
		}
	})
}

// limits notes how many keys each read of a range asks for.
type limits struct {
	kv
	mu   sync.Mutex
	seen []int64
}

func (l *limits) Range(ctx context.Context, r request) (*rangeResult, error) {
	if r.end != "" {
		l.mu.Lock()
		l.seen = append(l.seen, r.limit)
		l.mu.Unlock()
	}
	return l.kv.Range(ctx, r)
}

func (l *limits) taken() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	return seen
}

// Whoever reads everything, a list or a watch, asks for it in pages, of what is bulky in small ones.
func TestPagesAreBounded(t *testing.T) { // ancestor 43
	t.Parallel()
	m := NewMemory(MemoryOptions{})
	t.Cleanup(func() { _ = m.Close() })
	s := m.Store()
	t.Cleanup(func() { _ = s.Close() })
	l := &limits{kv: s.kv}
	s.kv = l
	ctx := t.Context()
	ops := make([]Op, 3*pageSize+1)
	for i := range ops {
		ops[i] = PutConfig(&Config{Group: "g", Key: fmt.Sprintf("K%05d", i), Value: "v"}, 0)
	}
	must(s.Do(ctx, ops...))
	for i := range 2*bulkyPageSize + 1 {
		must(s.Do(ctx, PutRecord(&job.ExecutionRecord{ID: fmt.Sprintf("r%05d", i), Group: "g", Name: "a", Outcome: job.Success})))
	}
	l.taken()
	growing, even := []int64{pageSize, 2 * pageSize, 4 * pageSize}, []int64{bulkyPageSize, bulkyPageSize, bulkyPageSize}
	check := func(what string, want []int64) {
		t.Helper()
		if got := l.taken(); !slices.Equal(got, want[:len(got)]) || len(got) < 2 {
			t.Errorf("%s asks for %d keys at a time, want %d", what, got, want)
		}
	}
	if list, _, err := s.Config().List(ctx); err != nil || len(list) != len(ops) {
		t.Fatal(len(list), err)
	}
	check("a list", growing)
	if list, _, err := s.Records().List(ctx); err != nil || len(list) != 2*bulkyPageSize+1 {
		t.Fatal(len(list), err)
	}
	check("a list of records", even)
	watched := func(f func(ctx context.Context) int) int {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return f(ctx)
	}
	if n := watched(func(ctx context.Context) int { return untilSynced(s.Config().Watch(ctx)) }); n != len(ops) {
		t.Fatal(n)
	}
	check("a watch", growing)
	if n := watched(func(ctx context.Context) int { return untilSynced(s.Records().Watch(ctx)) }); n != 2*bulkyPageSize+1 {
		t.Fatal(n)
	}
	check("a watch of records", even)
}

// untilSynced counts what a watch tells until it has told everything.
func untilSynced[T any](w *Watch[T]) (n int) {
	for batch := range w.Events() {
		for _, e := range batch {
			if e.Type == Synced {
				return n
			}
			n++
		}
	}
	return n
}

func TestUnreadableDocumentsAreLeftAlone(t *testing.T) { // ancestors 24, 46
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		good := testJob("good", "n1")
		must(s.Do(ctx, PutJob(good, 0)))
		fx.write("jobs/n1/broken", "{")
		fx.write("jobs/n1/nomode", `{"name":"x","cmd":"true","node_id":"n1","hash":"nomode","rule":{"mode":""}}`)
		fx.write("jobs/n1/forged", testJob("good", "n2").String()) // the document of another key
		fx.write("jobs/n1/a/b/c", good.String())
		list, _, err := s.Jobs().List(ctx, "n1")
		if err != nil || len(list) != 1 || list[0].Hash != good.Hash {
			t.Fatalf("%v, %v", list, err)
		}
		if list[0].Rules.Schedule == nil {
			t.Error("the rule is not parsed")
		}
		if n := must(s.Jobs().Count(ctx)); n != 5 {
			t.Errorf("%d documents are left", n)
		}
		if _, err := s.Jobs().Get(ctx, "n1", "broken"); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%v", err)
		}
		unreadable := 0
		w := s.Jobs().Watch(ctx, "n1")
		for synced := false; !synced; {
			for _, e := range <-w.Events() {
				if e.Type == Unreadable {
					if unreadable++; e.Err == nil || e.Value != nil {
						t.Errorf("%+v", e)
					}
				}
				synced = synced || e.Type == Synced
			}
		}
		if unreadable != 4 {
			t.Errorf("%d are told as unreadable", unreadable)
		}
	})
}

func TestConditionalOps(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s := t.Context(), fx.client()
		check := func(what string, want []bool, ops ...Op) {
			t.Helper()
			if done, err := s.Do(ctx, ops...); err != nil || fmt.Sprint(done) != fmt.Sprint(want) {
				t.Errorf("%s: %v, %v", what, done, err)
			}
		}
		j, d := testJob("backup", "n1"), testDispatch("r1", "n1")
		check("made once", []bool{true, false}, PutJob(j, 0), PutJob(j, 0))
		rev := fx.read(j.Key()).mod
		check("by revision, any", []bool{false, true, true}, PutJob(j, rev-1), PutJob(j, rev), PutJob(j, Any))
		check("deleted", []bool{false, true, true, true}, DeleteJob("n1", j.Hash, rev), DeleteJob("n1", j.Hash, 0), DeleteJob("n1", j.Hash, 0), DeleteJob("n1", j.Hash, rev))
		check("a dispatch asked for twice", []bool{true, false}, CreateDispatch(d), CreateDispatch(d))
		read := must(s.Dispatches().Get(ctx, "n1", "r1"))
		stale := *read
		stale.Revision--
		check("failed once", []bool{false, true, false}, FailDispatch(&stale, testRecord("r1", "n1")), FailDispatch(read, testRecord("r1", "n1")), FailDispatch(read, testRecord("r1", "n1")))
		old := must(s.Records().First(ctx, 1, "n1"))[0].Revision
		check("a record is replaced", []bool{true, false}, PutRecord(testRecord("r1", "n1")), DeleteRecord("n1", "r1", old))
		check("a record of no node", []bool{true}, PutRecord(testRecord("r2", "")))
		if r, err := s.Records().Get(ctx, "", "r2"); err != nil || r.Node != "" {
			t.Errorf("%+v, %v", r, err)
		}
		k := &job.Kill{Run: "r1", Node: "n1", By: "alice", At: day}
		check("kill", []bool{true, false, true, true}, CreateKill(k), CreateKill(k), DeleteKill("n1", "r1"), DeleteKill("n1", "r1"))
		if _, err := s.Do(ctx, PutJob(testJob("ok", "n1"), 0), DeleteJob("../x", "y", 0)); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("%v", err)
		}
		if fx.read(testJob("ok", "n1").Key()) != nil {
			t.Error("something was done although an operation was invalid")
		}
	})
}

func TestOperationsOfManyPartsShareATransactionOnlyWhereEtcdTakesIt(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		var ops []Op
		for i := range 150 {
			op := PutConfig(&Config{Key: fmt.Sprint("K", i), Value: "v"}, 0)
			if i%50 == 25 {
				for j := range 60 {
					more := PutConfig(&Config{Key: fmt.Sprint("M", i, "-", j), Value: "v"}, 0)
					op.when, op.then = append(op.when, more.when...), append(op.then, more.then...)
				}
			}
			ops = append(ops, op)
		}
		done, err := fx.client().Do(t.Context(), ops...)
		if err != nil || slices.Contains(done, false) {
			t.Errorf("%v, %v", done, err)
		}
	})
}

func TestSettle(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s, task := t.Context(), fx.client(), job.Ref("", "nightly")
		at := func(m int) time.Time { return day.Add(time.Duration(m) * time.Minute) }
		do := func(op Op) bool {
			t.Helper()
			done, err := s.Do(ctx, op)
			if err != nil {
				t.Fatal(err)
			}
			return done[0]
		}
		if do(Settle(task, at(0), at(1), nil, false)) {
			t.Error("raised a floor that is not there")
		}
		if !do(InitFloor(task, at(0))) || do(InitFloor(task, at(5))) {
			t.Error("the first floor")
		}
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		for _, m := range []int{1, 2, 5} {
			must(ss.Claim(ctx, job.Claim{Task: task, Instant: at(m), Job: "h"}))
		}
		missed := testRecord("missed", "")
		if do(Settle(task, at(0), at(3), missed, true)) || fx.read("records/-/missed") != nil {
			t.Error("a claimed instant was recorded as missed")
		}
		if !do(Settle(task, at(0), at(2), nil, false)) {
			t.Error("not settled")
		}
		if n := must(s.Claims().Count(ctx, task.Group, task.Name)); n != 1 {
			t.Errorf("%d claims are left", n)
		}
		if do(Settle(task, at(0), at(3), missed, true)) {
			t.Error("settled from a floor that has moved")
		}
		if !do(Settle(task, at(2), at(4), missed, true)) || fx.read("records/-/missed") == nil {
			t.Error("what nobody claimed was not recorded")
		}
		if f := must(s.Settled().Get(ctx, task.Group, task.Name)); !f.At.Equal(at(4)) || f.Task != task {
			t.Errorf("%+v", f)
		}
		if _, err := s.Do(ctx, Settle(task, at(4), at(4), nil, false)); job.CodeOf(err) != job.CodeInvalid {
			t.Errorf("a floor that does not rise: %v", err)
		}
		if do(DropFloor(task, at(1))) || !do(DropFloor(task, at(4))) {
			t.Error("dropped")
		}
		if n := must(s.Claims().Count(ctx)) + must(s.Settled().Count(ctx)); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestSettleAndClaimExcludeEachOther(t *testing.T) {
	backends(t, func(t *testing.T, fx *fixture) {
		ctx, s, task := t.Context(), fx.client(), job.Ref("", "race")
		must(s.Do(ctx, InitFloor(task, day)))
		ss := join(t, s, presence("n1", "s1"), 10*time.Second)
		for i := range 50 {
			from, to := day.Add(time.Duration(i)*time.Minute), day.Add(time.Duration(i+1)*time.Minute)
			claimed := make(chan error, 1)
			go func() {
				_, err := ss.Claim(ctx, job.Claim{Task: task, Instant: to, Job: "h"})
				claimed <- err
			}()
			done := must(s.Do(ctx, Settle(task, from, to, nil, true)))
			err := <-claimed
			if done[0] == (err == nil) || err != nil && !errors.Is(err, ErrSettled) {
				t.Fatalf("settled as empty: %v, claimed: %v", done[0], err)
			}
			if !done[0] {
				must(s.Do(ctx, Settle(task, from, to, nil, false)))
			}
		}
	})
}

func join(t testing.TB, s *Store, p job.Presence, ttl time.Duration) *Session {
	t.Helper()
	ss, err := s.Join(context.Background(), p, ttl)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = ss.Close(ctx)
	})
	return ss
}
