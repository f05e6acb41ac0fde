// Package nearest finds what somebody meant who has mistyped a word.
//
// It does not guess at words that were not mistyped: where none is near, it finds
// none.
package nearest

import "strings"

// Word returns the known word nearest to what was typed, or "" where none is
// near.
func Word(typed string, known []string) string {
	best, least := "", 3
	for _, word := range known {
		d := distance(typed, word)
		if len(typed) >= 2 && strings.HasPrefix(word, typed) || len(word) >= 3 && strings.HasPrefix(typed, word) {
			d = min(d, 2)
		}
		// Two changes to a word of three letters make another word.
		if d < least && d < len(word)-1 {
			best, least = word, d
		}
	}
	return best
}

// distance counts the insertions, deletions, changes and swaps of neighbours
// that make b of a.
func distance(a, b string) int {
	if max(len(a), len(b)) > 64 {
		return 64
	}
	var before, last, row [65]int
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
