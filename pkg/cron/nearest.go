package cron

import (
	"fmt"
	"strings"

	"conch/pkg/nearest"
)

// DidYouMean returns `: did you mean "x"?` for the known word nearest to what
// was typed, or nothing where none is near.
func DidYouMean(typed string, known []string) string {
	if word := nearest.Word(strings.ToLower(typed), known); word != "" {
		return fmt.Sprintf(": did you mean %q?", word)
	}
	return ""
}
