package cli

import "conch/pkg/nearest"

// didYouMean returns ": did you mean X?" for the known word nearest to what
// was typed, or nothing where none is near.
func didYouMean(typed string, known []string, prefix string) string {
	if word := nearest.Word(typed, known); word != "" {
		return ": did you mean " + prefix + word + "?"
	}
	return ""
}
