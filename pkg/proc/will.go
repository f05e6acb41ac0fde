package proc

import (
	"strconv"
	"strings"
)

// pieceSize is how much of a text goes into one variable: the kernel takes no
// entry of an environment that is longer than 128 KiB.
const pieceSize = 96 << 10

// Pieces returns text as entries of an environment: the variable name has the
// beginning, name_1 what follows, and so on.
func Pieces(name, text string) (env []string) {
	for i := 0; i == 0 || text != ""; i++ {
		n := min(len(text), pieceSize)
		env = append(env, piece(name, i)+"="+text[:n])
		text = text[n:]
	}
	return env
}

// Joined returns the text of which the pieces are among the variables that lookup
// knows, empty if there are none.
func Joined(name string, lookup func(name string) (string, bool)) string {
	var text strings.Builder
	for i := 0; ; i++ {
		part, ok := lookup(piece(name, i))
		if !ok {
			return text.String()
		}
		text.WriteString(part)
	}
}

func piece(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + "_" + strconv.Itoa(i)
}
