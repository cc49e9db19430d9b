// Package spelling guesses which of the words that there are somebody meant.
//
// It owns the one sentence that every door says it in. It keeps no state, and knows no word but the event types.
package spelling

import (
	"fmt"
	"strings"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// DidYouMean is the nearest of the words as " (did you mean endpoints?)", or "" when none is near.
func DidYouMean(word string, words []string) string {
	best, least := "", len(word)/3+2
	for _, candidate := range words {
		if len(word) > 2 && strings.HasPrefix(candidate, word) {
			best = candidate // cut off, and not mistyped
			break
		}
		if d := distance(strings.ToLower(word), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// UnknownType says that an event type is not in the catalogue, and which one may be meant; "" when it is there. Such a type is
// allowed, and rarely meant.
func UnknownType(t outbox.Type) string {
	var names []string
	for _, known := range outbox.Types() {
		if t == known {
			return ""
		}
		names = append(names, string(known))
	}
	return fmt.Sprintf("%q is not in the catalogue%s", t, DidYouMean(string(t), names))
}

// distance is Levenshtein's: insertions, deletions and replacements between two words.
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
