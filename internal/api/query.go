package api

import (
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rota-dev/rota/job"
)

// parseQuery reads the query of an address; unlike url.ParseQuery's callers mostly do, it does not overlook what is broken.
func parseQuery(raw string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, job.Errorf(job.CodeInvalid, "the query cannot be read: %w", err)
	}
	return q, nil
}

func keys(q url.Values) iter.Seq[string] { return maps.Keys(q) }

// checkNames checks those names of a filter that are given.
func checkNames(names ...[2]string) error {
	var f job.Faults
	for _, n := range names {
		if n[1] == "" {
			continue
		}
		if err := job.CheckName(n[0], n[1]); err != nil {
			f.AddError(n[0], err)
		}
	}
	return f.Err("the filter is not valid")
}

// parseWait reads how long to wait: a duration, at most longest.
func parseWait(s string, longest time.Duration) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := job.ParseDuration(s)
	if err != nil {
		return 0, err
	}
	return min(max(d.Std(), 0), longest), nil
}

// wantOneOf is advice for a word that is none of those known.
func wantOneOf(word string, known []string) string {
	if len(known) == 0 {
		return "there are none here"
	}
	hint := "there are " + strings.Join(known, ", ")
	if near := job.Near(word, known); near != "" {
		hint = `did you mean "` + near + `"? ` + hint
	}
	return hint
}

// list is never null in JSON.
func list[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return slices.Clip(v)
}
