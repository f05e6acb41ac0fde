package cli

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LogFormat resolves "auto", the format of a log on descriptor fd: "journald" where
// that goes to the journal, else "text". Others it returns as they are.
func (s *Stdio) LogFormat(format string, fd int) string {
	if format != "auto" {
		return format
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && s.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino) {
		return "journald"
	}
	return "text"
}

// LogField adds name=value to a line of a log in text, in quotes where a reader
// could take it for more than one; an empty value is left out.
func LogField(line *strings.Builder, name, value string) {
	if value == "" {
		return
	}
	if quoted := strconv.Quote(value); len(quoted) > len(value)+2 || strings.ContainsAny(value, " =") {
		value = quoted
	}
	fmt.Fprintf(line, " %s=%s", name, value)
}
