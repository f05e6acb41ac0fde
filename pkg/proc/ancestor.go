package proc

import (
	"os"
	"strconv"
	"strings"
)

// Descends reports whether this process has an ancestor that knows itself by pid.
// Whoever is in a tree descends from its supervisor: the sentinel between the two
// adopts what is orphaned. In a pid namespace that has a /proc of its own nobody
// outside of it is found.
func Descends(pid int) bool {
	const looks = 10 // an ancestor that ends meanwhile is not one any more
	for range looks {
		found, whole := descends("self", strconv.Itoa(pid))
		if found || whole {
			return found
		}
	}
	return false
}

// descends goes up from a process, and says whether it has come to the top.
func descends(from, pid string) (found, whole bool) {
	for at := from; ; {
		text, err := os.ReadFile("/proc/" + at + "/status")
		if err != nil {
			return false, false
		}
		parent, own := lineage(string(text))
		if at != from && own == pid {
			return true, true
		}
		if parent == "" || parent == "0" {
			return false, true
		}
		at = parent
	}
}

// lineage reads from a process's status the number of its parent, in the
// namespace of /proc, and its own in the namespace that it is in.
func lineage(status string) (parent, own string) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		numbers := strings.Fields(value)
		switch {
		case len(numbers) == 0:
		case name == "PPid":
			parent = numbers[0]
		case name == "NSpid", name == "Pid": // before Linux 4.1 the second alone
			own = numbers[len(numbers)-1]
		}
	}
	return parent, own
}
