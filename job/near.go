package job

import (
	"fmt"
	"strings"
)

// didYouMean is advice for a word that is not one of the candidates: the one that was probably
// meant, or "" where none is close.
func didYouMean(word string, candidates []string) string {
	if near, ok := nearest(word, candidates); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// wantOneOf is advice for a word that is none of a few: the near one, and all that are allowed.
func wantOneOf[S ~string](word S, allowed []S) string {
	list := make([]string, len(allowed))
	for i, s := range allowed {
		list[i] = string(s)
	}
	all := list[0]
	if n := len(list) - 1; n > 0 {
		all = strings.Join(list[:n], ", ") + " or " + list[n]
	}
	if near := didYouMean(string(word), list); near != "" {
		return near + " want " + all
	}
	return "want " + all
}

// nearest is the candidate that differs least from the word, if that is little enough to be a slip.
func nearest(word string, candidates []string) (string, bool) {
	const longest = 64
	if word == "" || len(word) > longest {
		return "", false
	}
	word = strings.ToLower(word)
	best, least := "", 1+min(2, (len(word)+1)/3)
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best, best != ""
}

// distance counts the letters to insert, drop, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}

// Near is the candidate that a person who wrote word most likely meant, or "" where none is close.
func Near(word string, candidates []string) string {
	near, _ := nearest(word, candidates)
	return near
}
