package proc

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"

	"conch/pkg/proc/sentinel"
)

// pidVars returns env without LISTEN_PIDFDID if LISTEN_PID is ours, and the
// variables whose value must become the command's pid: those that hold ours.
func pidVars(env []string) (rest, vars []string) {
	self := strconv.Itoa(os.Getpid())
	for _, name := range []string{"LISTEN_PID", "WATCHDOG_PID"} {
		if slices.Contains(env, name+"="+self) {
			vars = append(vars, name)
		}
	}
	if !slices.Contains(vars, "LISTEN_PID") {
		return env, vars
	}
	rest = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, "LISTEN_PIDFDID=") })
	return rest, vars
}

// shed finds what the sentinel can do without: all that this process has written
// to, but for the stack that it is forked on. Else its size would grow with ours,
// as pages that we write become its own, and each would cost us a fault.
//
// Under a race detector or with cgo they stay. The C library's thread-local
// storage is among them, and the kernel writes to it (rseq).
func shed(a *sentinel.Arena) {
	if instrumented {
		return
	}
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	from, to := a.Span()
	spans, ok := written(text)
	if !ok {
		return
	}
	for _, s := range spans {
		if s[1] <= from || to <= s[0] {
			a.Shed(s[0], s[1])
		}
	}
}

// written returns the private writable mappings in text, without the first
// thread's stack: Go's heap, and the program's variables. It returns false if the
// process is not made of Go alone.
func written(text []byte) (spans [][2]uintptr, ok bool) {
	var program []byte // the file with the code
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) < 5 {
			continue
		}
		var path []byte
		if len(f) > 5 {
			path = f[5]
		}
		from, to, valid := span(f[0])
		file := !bytes.Equal(f[4], []byte("0"))
		code := file && bytes.IndexByte(f[1], 'x') >= 0
		switch {
		case !valid, bytes.Equal(path, []byte("[heap]")), code && program != nil && !bytes.Equal(path, program):
			return nil, false
		case code:
			program = path
		}
		if (file || path == nil || bytes.HasPrefix(path, []byte("[anon:"))) && string(f[1]) == "rw-p" {
			spans = append(spans, [2]uintptr{from, to})
		}
	}
	return spans, true
}

// span reads the addresses at the start of a line of maps.
func span(s []byte) (from, to uintptr, ok bool) {
	first, last, _ := strings.Cut(string(s), "-")
	a, err1 := strconv.ParseUint(first, 16, 64)
	b, err2 := strconv.ParseUint(last, 16, 64)
	return uintptr(a), uintptr(b), err1 == nil && err2 == nil
}
