package job

import "time"

// Stretch is instants that follow each other at the same distance.
type Stretch struct {
	First time.Time `json:"first"`
	Step  int64     `json:"step,omitempty"` // seconds from one to the next; 0 where there is one alone
	Count int       `json:"count"`          // at least 1
}

// Last is the last instant of the stretch.
func (s Stretch) Last() time.Time { return s.at(s.Count - 1) }

func (s Stretch) at(i int) time.Time {
	return s.First.Add(time.Duration(i) * time.Duration(s.Step) * time.Second)
}

// Has tells whether an instant is one of the stretch.
func (s Stretch) Has(instant time.Time) bool {
	if s.Step <= 0 || s.Count == 1 {
		return instant.Equal(s.First)
	}
	d := instant.Sub(s.First)
	return d >= 0 && !instant.After(s.Last()) && d%(time.Duration(s.Step)*time.Second) == 0
}

// AddInstant adds a later instant, a whole number of seconds after the last one, to stretches.
func AddInstant(list []Stretch, instant time.Time) []Stretch {
	if n := len(list); n > 0 {
		s := &list[n-1]
		step := int64(instant.Sub(s.Last()) / time.Second)
		switch {
		case s.Count == 1 && step > 0:
			s.Step, s.Count = step, 2
			return list
		case step == s.Step && step > 0:
			s.Count++
			return list
		}
	}
	return append(list, Stretch{First: instant, Count: 1})
}

// WithoutInstants is the stretches without their instants from one time to another, both inclusive.
func WithoutInstants(list []Stretch, from, to time.Time) []Stretch {
	var left []Stretch
	for _, s := range list {
		if s.First.After(to) || s.Last().Before(from) {
			left = append(left, s)
			continue
		}
		step := time.Duration(s.Step) * time.Second
		before, behind := 0, 0 // how many lie before from, and behind to
		if d := from.Sub(s.First); d > 0 && step > 0 {
			before = int((d + step - 1) / step)
		}
		if d := s.Last().Sub(to); d > 0 && step > 0 {
			behind = int((d + step - 1) / step)
		}
		if before > 0 {
			left = append(left, s.part(0, before))
		}
		if behind > 0 {
			left = append(left, s.part(s.Count-behind, s.Count))
		}
	}
	return left
}

func (s Stretch) part(from, to int) Stretch {
	p := Stretch{First: s.at(from), Step: s.Step, Count: to - from}
	if p.Count == 1 {
		p.Step = 0
	}
	return p
}

// CountInstants is how many instants stretches have.
func CountInstants(list []Stretch) (n int) {
	for _, s := range list {
		n += s.Count
	}
	return n
}
