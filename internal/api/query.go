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
	if near := Nearest(word, known); near != "" {
		hint = `did you mean "` + near + `"? ` + hint
	}
	return hint
}

// Nearest is the candidate that was probably meant by a word, or "" where none is close.
func Nearest(word string, candidates []string) string {
	const longest = 64
	word = strings.ToLower(word)
	if word == "" || len(word) > longest {
		return ""
	}
	best, least := "", 1+min(2, (len(word)+1)/3)
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts the letters to insert, drop or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// list is never null in JSON.
func list[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return slices.Clip(v)
}
