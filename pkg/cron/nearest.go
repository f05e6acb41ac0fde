package cron

import (
	"fmt"
	"strings"
)

// DidYouMean returns `: did you mean "x"?` for the known word nearest to what
// was typed, or nothing where none is near.
func DidYouMean(typed string, known []string) string {
	best, least := "", 3
	for _, word := range known {
		d := distance(strings.ToLower(typed), word)
		if len(typed) >= 3 && (strings.HasPrefix(word, typed) || strings.HasPrefix(typed, word)) {
			d = min(d, 2)
		}
		// Two changes to a word of three letters make another word.
		if d < least && d < len(word)-1 {
			best, least = word, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// distance counts the insertions, deletions, changes and swaps of neighbours
// that make b of a.
func distance(a, b string) int {
	const most = 32
	if max(len(a), len(b)) > most {
		return most
	}
	var before, last, row [most + 1]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
