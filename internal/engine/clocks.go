package engine

import "time"

// A node claims an instant when its own clock shows it. Where the planner's clock is ahead of that, an instant is not given up
// before the node's clock has come to it too. What is measured is a little off, and a second changes nothing.

const (
	tolerated = time.Second
	// maxBehind bounds what a clock that is wrong beyond reason can put off.
	maxBehind = 24 * time.Hour
	// looked is how many slow nodes are looked for among those of a task; where more are, it is the planner's clock that is off.
	looked = 64
)

func (e NodeClock) apply(s *State) {
	if e.Behind <= tolerated || e.Behind > maxBehind {
		delete(s.slow, e.Node)
		return
	}
	s.slow[e.Node] = e.Behind
}

// behind is how far the slowest clock of a task's nodes that are online is behind.
func (s *State) behind(t *task) (most time.Duration) {
	for id, d := range s.slow {
		_, bound := t.jobs[id]
		if (bound || len(s.slow) > looked) && s.online(id) {
			most = max(most, d)
		}
	}
	return most
}
