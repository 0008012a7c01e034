package engine

import (
	"container/heap"
	"time"
)

// wakes are the tasks of whose account time alone may bring something, the first to come first. What an event
// brings rouses its task at once.
type wakes []*task

const asleep = -1 // the index of a task that is not among the wakes

// at wakes a task then; zero: only an event does.
func (w *wakes) at(t *task, at time.Time) {
	a := &t.account
	a.wake = at
	switch {
	case at.IsZero():
		w.sleep(t)
	case a.index == asleep:
		heap.Push(w, t)
	default:
		heap.Fix(w, a.index)
	}
}

func (w *wakes) sleep(t *task) {
	if t.account.index != asleep {
		heap.Remove(w, t.account.index)
	}
}

// due takes the next task whose time has come, or nil.
func (w *wakes) due(now time.Time) *task {
	if len(*w) == 0 || (*w)[0].account.wake.After(now) {
		return nil
	}
	return heap.Pop(w).(*task)
}

// Len, Less, Swap, Push and Pop are for package heap.
func (w wakes) Len() int           { return len(w) }
func (w wakes) Less(i, j int) bool { return w[i].account.wake.Before(w[j].account.wake) }
func (w wakes) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].account.index, w[j].account.index = i, j
}

func (w *wakes) Push(x any) {
	t := x.(*task)
	t.account.index = len(*w)
	*w = append(*w, t)
}

func (w *wakes) Pop() any {
	last := len(*w) - 1
	t := (*w)[last]
	(*w)[last], *w = nil, (*w)[:last]
	t.account.index = asleep
	return t
}
