package sim

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rota-dev/rota/job"
	"github.com/rota-dev/rota/schedule"
	"github.com/rota-dev/rota/store"
)

// book is what people have said of tasks, version by version, as etcd took it.
type book struct {
	w *world

	mu       sync.Mutex
	versions map[job.TaskRef][]*job.TaskEntry // in their order; nil: it was deleted
	taken    map[job.TaskRef][]time.Time      // when each of them was
	records  int
}

func newBook(w *world, ctx context.Context) *book {
	b := &book{w: w, versions: map[job.TaskRef][]*job.TaskEntry{}, taken: map[job.TaskRef][]time.Time{}}
	events := w.admin.Tasks().Watch(ctx).Events()
	w.wg.Go(func() {
		for batch := range events {
			for _, e := range batch {
				b.take(e)
			}
		}
	})
	return b
}

func (b *book) take(e store.Event[job.TaskEntry]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Type {
	case store.Put:
		ref := e.Value.Ref()
		b.versions[ref], b.taken[ref] = append(b.versions[ref], e.Value), append(b.taken[ref], time.Now())
		b.w.note("", "wrote %s: generation %d, kind %s, %q, paused %v, since %s", ref.Name, e.Value.Generation, e.Value.Task.Kind, e.Value.Task.Timer, e.Value.Paused, clockTime(e.Value.Since))
	case store.Delete:
		if parts, err := b.w.admin.Tasks().Parts(e.Key); err == nil {
			ref := job.Ref(parts[0], parts[1])
			b.versions[ref], b.taken[ref] = append(b.versions[ref], nil), append(b.taken[ref], time.Now())
			b.w.note("", "wrote %s: it is deleted", ref.Name)
		}
	}
}

// each visits every version of every task.
func (b *book) each(f func(*job.Task)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, vs := range b.versions {
		for _, v := range vs {
			if v != nil {
				f(&v.Task)
			}
		}
	}
}

func (b *book) refs() (list []job.TaskRef) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ref := range b.versions {
		list = append(list, ref)
	}
	slices.SortFunc(list, func(x, y job.TaskRef) int { return compare(x.String(), y.String()) })
	return list
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (b *book) of(ref job.TaskRef) []*job.TaskEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.versions[ref])
}

// now is the task as it is, nil where there is none.
func (b *book) now(ref job.TaskRef) *job.TaskEntry {
	vs := b.of(ref)
	if len(vs) == 0 {
		return nil
	}
	return vs[len(vs)-1]
}

// deleted tells whether the task was, at some time.
func (b *book) deleted(ref job.TaskRef) bool { return slices.Contains(b.of(ref), nil) }

func (b *book) paused() (list []job.TaskRef) {
	for _, ref := range b.refs() {
		if e := b.now(ref); e != nil && e.Paused {
			list = append(list, ref)
		}
	}
	return list
}

// era is a time in which one rule was in force.
type era struct {
	timer        *schedule.Schedule // nil: nothing is due
	claimed      bool
	since, until time.Time // until is zero for the present one
}

// eras are those of the task that there is now.
func (b *book) eras(ref job.TaskRef) (list []era) {
	last := b.now(ref)
	if last == nil {
		return nil
	}
	for _, v := range b.of(ref) {
		if v == nil || !v.CreatedAt.Equal(last.CreatedAt) || len(list) > 0 && list[len(list)-1].since.Equal(v.Since) {
			continue
		}
		if len(list) > 0 {
			list[len(list)-1].until = v.Since
		}
		list = append(list, era{timer: timerOf(&v.Task), claimed: v.Task.Kind != "common", since: v.Since})
	}
	return list
}

func timerOf(t *job.Task) *schedule.Schedule {
	if t.Timer == "" {
		return nil
	}
	s, err := schedule.ParseAll(t.Timer.Lines(), schedule.Options{Seed: t.Ref().String()})
	if err != nil {
		return nil
	}
	return s
}

// due lists the instants of an era in (from, to].
func (e era) due(from, to time.Time) (list []time.Time) {
	if e.timer == nil {
		return nil
	}
	if from.Before(e.since) {
		from = e.since
	}
	if !e.until.IsZero() && to.After(e.until) {
		to = e.until
	}
	for i := e.timer.Next(from); !i.IsZero() && !i.After(to); i = e.timer.Next(i) {
		list = append(list, i)
	}
	return list
}

// everDue tells whether any version of a task made an instant due.
func (b *book) everDue(ref job.TaskRef, i time.Time) bool { return b.dueBy(ref, 0, i) }

// dueBy tells whether the version of a task with that generation made an instant due; 0: any version.
func (b *book) dueBy(ref job.TaskRef, generation int64, i time.Time) bool {
	return slices.ContainsFunc(b.of(ref), func(v *job.TaskEntry) bool {
		if v == nil || generation != 0 && v.Generation != generation {
			return false
		}
		s := timerOf(&v.Task)
		return s != nil && s.Next(i.Add(-time.Second)).Equal(i)
	})
}
