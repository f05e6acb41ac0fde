package cli

import (
	"encoding/json"
	"io"
	"os"
	"strings"

	"conch/pkg/stream"
)

// Stdio is what a process is given beside its arguments. Nothing below Main
// reads os.Environ or the standard streams, so a tool can be run in a test.
type Stdio struct {
	In  *os.File
	Out io.Writer // data, or nothing: it belongs to the command
	Err io.Writer // all that conch says; of a process, a *stream.Stream
	Env []string  // as os.Environ gives it
}

// Lookup returns the value of a variable and whether it is set. An empty
// variable counts as not set. Of two entries the first counts, as in getenv(3).
func (s *Stdio) Lookup(name string) (string, bool) {
	for _, entry := range s.Env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, value != ""
		}
	}
	return "", false
}

// Getenv returns the value of a variable, empty if it is not set.
func (s *Stdio) Getenv(name string) string {
	value, _ := s.Lookup(name)
	return value
}

// JSON writes v to standard output, on one line.
func (s *Stdio) JSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.Out.Write(append(b, '\n'))
	return err
}

// Terminal reports whether a stream is a terminal.
func Terminal(w any) bool {
	switch w := w.(type) {
	case *stream.Stream:
		return w.Terminal()
	case *os.File:
		return w != nil && stream.New(w).Terminal()
	}
	return false
}
