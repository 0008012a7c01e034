package job

import (
	"fmt"
	"strings"

	"github.com/rota-dev/rota/schedule"
)

// didYouMean is advice for a word that is not one of the candidates: the one that was probably
// meant, or "" where none is close.
func didYouMean(word string, candidates []string) string {
	if near, ok := schedule.Near(word, candidates); ok {
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

// Near is the candidate that a person who wrote word most likely meant, or "" where none is close.
func Near(word string, candidates []string) string {
	near, _ := schedule.Near(word, candidates)
	return near
}
