package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rota-dev/rota/job"
)

// A scenario that is cut down is named by its seed and what is left of it: "seed=7 masters=1 nodes=2 length=90s tasks=0,2 events=4".

// name is how a scenario is asked for again.
func (s *scenario) name() string {
	var tasks, events []string
	for _, t := range s.tasks {
		tasks = append(tasks, strconv.Itoa(t.i))
	}
	for _, e := range s.events {
		events = append(events, strconv.Itoa(e.i))
	}
	return fmt.Sprintf("seed=%d masters=%d nodes=%d length=%s tasks=%s events=%s", s.seed, s.masters, len(s.nodes), s.length, strings.Join(tasks, ","), strings.Join(events, ","))
}

// named is the scenario of a name. What the name leaves out is as the seed has it.
func named(name string) (*scenario, error) {
	var s *scenario
	for _, word := range strings.Fields(name) {
		key, value, _ := strings.Cut(word, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		if s == nil && (key != "seed" || err != nil) {
			return nil, fmt.Errorf("%q does not begin with seed=NUMBER", name)
		}
		switch key {
		case "seed":
			s, err = draw(n), nil
		case "masters":
			s.masters = int(n)
		case "nodes":
			s.nodes = s.nodes[:min(max(int(n), 1), len(s.nodes))]
		case "length":
			s.length, err = time.ParseDuration(value)
		case "tasks":
			s.tasks, err = slices.DeleteFunc(s.tasks, func(t task) bool { return !among(value, t.i) }), nil
		case "events":
			s.events, err = slices.DeleteFunc(s.events, func(e event) bool { return !among(value, e.i) }), nil
		default:
			err = fmt.Errorf("it is not known")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
	}
	if s == nil {
		return nil, fmt.Errorf("there is no name")
	}
	s.tidy()
	return s, nil
}

func among(list string, i int) bool {
	return slices.Contains(strings.Split(list, ","), strconv.Itoa(i))
}

// tidy removes what names something that is not there.
func (s *scenario) tidy() {
	there := map[string]bool{"etcd": true, "history": true}
	for i := range s.masters {
		there[fmt.Sprintf("m%d", i+1)] = true
	}
	for _, n := range s.nodes {
		there[string(n)] = true
	}
	for i := range s.tasks {
		t := &s.tasks[i]
		there[t.Name] = true
		t.Nodes = slices.DeleteFunc(slices.Clone(t.Nodes), func(n job.NodeID) bool { return !slices.Contains(s.nodes, n) })
	}
	for i := range s.tasks {
		s.tasks[i].Depends = slices.DeleteFunc(slices.Clone(s.tasks[i].Depends), func(d job.Depend) bool { return !there[d.Task] })
	}
	s.events = slices.DeleteFunc(s.events, func(e event) bool {
		if e.task != nil {
			e.task.Nodes = slices.DeleteFunc(slices.Clone(e.task.Nodes), func(n job.NodeID) bool { return !slices.Contains(s.nodes, n) })
			e.task.Depends = slices.DeleteFunc(slices.Clone(e.task.Depends), func(d job.Depend) bool { return !there[d.Task] })
		}
		return !there[e.who]
	})
}

// again is a scenario made anew, with a change.
func (s *scenario) again(change func(*scenario)) *scenario {
	c, err := named(s.name())
	if err != nil {
		panic(err)
	}
	change(c)
	c.tidy()
	return c
}

// shrink looks for a smaller scenario that breaks the same promise, as long as it may take.
func shrink(t *testing.T, s *scenario, b bug, promise string, budget time.Duration) (*scenario, outcome, int) {
	until, tries := time.Now().Add(budget), 0
	var best outcome
	fails := func(c *scenario) bool {
		for range 2 { // the same scenario does not always come out alike
			if time.Now().After(until) {
				return false
			}
			tries++
			out := play(t, c, b)
			if slices.ContainsFunc(out.wrong, func(v violation) bool { return v.promise == promise }) {
				best = out
				return true
			}
		}
		return false
	}
	if !fails(s) {
		return s, best, tries
	}
	try := func(change func(*scenario)) bool {
		c := s.again(change)
		if c.name() == s.name() || len(c.nodes) == 0 || len(c.tasks) == 0 || !fails(c) {
			return false
		}
		s = c
		return true
	}
	for smaller := true; smaller && time.Now().Before(until); {
		smaller = false
		for n := len(s.events); n >= 1; n /= 2 { // by halves, then one by one
			for i := 0; i < len(s.events); {
				if !try(func(c *scenario) { c.events = slices.Delete(c.events, i, min(i+n, len(c.events))) }) {
					i += n
				} else {
					smaller = true
				}
			}
		}
		for i := 0; i < len(s.tasks); {
			if !try(func(c *scenario) { c.tasks = slices.Delete(c.tasks, i, i+1) }) {
				i++
			} else {
				smaller = true
			}
		}
		for s.masters > 1 && try(func(c *scenario) { c.masters-- }) {
			smaller = true
		}
		for len(s.nodes) > 1 && try(func(c *scenario) { c.nodes = c.nodes[:len(c.nodes)-1] }) {
			smaller = true
		}
		for s.length > time.Minute && try(func(c *scenario) { c.length = (c.length * 2 / 3).Round(time.Second) }) {
			smaller = true
		}
	}
	return s, best, tries
}
