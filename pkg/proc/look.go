package proc

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The two ways in which a command can be one that does not run. A shell gives
// 127 for the first and 126 for the second.
var (
	ErrNotFound      = errors.New("command not found")
	ErrNotExecutable = errors.New("not executable")
)

// StartError says why a command was not started. It is ErrNotFound or
// ErrNotExecutable where the command is to blame, and neither where this
// process or the system is.
type StartError struct {
	Path string // the command's name, or the file in question
	Err  error
}

func (e *StartError) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *StartError) Unwrap() error { return e.Err }

// Is compares with ErrNotFound and ErrNotExecutable. A bare errno in Err is
// what looking at the file, or its exec, came to; other failures are wrapped.
func (e *StartError) Is(target error) bool {
	errno, ok := e.Err.(syscall.Errno)
	missing := errno == unix.ENOENT || errno == unix.ENOTDIR
	return ok && (target == ErrNotFound && missing || target == ErrNotExecutable && !missing)
}

// ExecError is what errno, of an exec of the candidates for name, means. Where a
// file is there and ENOENT is about what is to run it, it names that too.
func ExecError(name string, paths []string, errno syscall.Errno) *StartError {
	if errno != unix.ENOENT {
		return &StartError{name, errno}
	}
	for _, file := range paths {
		if executable(file) == 0 {
			return &StartError{file + ": its " + interpreter(file), errno}
		}
	}
	return &StartError{name, errno}
}

// interpreter says what the kernel looks for to run file.
func interpreter(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return "interpreter"
	}
	defer f.Close()
	var head [256]byte // as much as the kernel reads
	n, _ := f.Read(head[:])
	line, ok := strings.CutPrefix(string(head[:n]), "#!")
	if !ok {
		return "dynamic loader"
	}
	line, _, _ = strings.Cut(line, "\n")
	line = strings.TrimLeft(line, " \t")
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		line = line[:i]
	}
	if quoted := strconv.Quote(line); len(quoted) > len(line)+2 { // the end of a line from Windows, most often
		line = quoted
	}
	return strings.TrimRight("interpreter "+line, " ")
}

// Look finds the candidates for name as execvp would: name itself if there is a
// slash in it, else name in each directory of path, where it can be executed.
// It runs nothing. Its error is a *StartError.
func Look(name, path string) ([]string, error) {
	if strings.Contains(name, "/") {
		if errno := executable(name); errno != 0 {
			return nil, &StartError{name, errno}
		}
		return []string{name}, nil
	}
	var found []string
	var denied error
	for _, dir := range strings.Split(path, ":") {
		file := dir + "/" + name
		if dir == "" {
			file = "./" + name
		}
		switch executable(file) {
		case 0:
			found = append(found, file)
		case unix.EACCES:
			// In a directory that may not be searched nothing was found: shells
			// see it so, and the PATH of another user is full of such.
			if denied == nil && unix.Stat(file, new(unix.Stat_t)) == nil {
				denied = &StartError{file, unix.EACCES}
			}
		}
	}
	switch {
	case name == "" || len(found) == 0 && denied == nil:
		return nil, &StartError{name, ErrNotFound}
	case len(found) == 0:
		return nil, denied
	}
	return found, nil
}

// executable returns why file cannot be executed, or 0.
func executable(file string) syscall.Errno {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return number(err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EACCES
	}
	if err := unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS); err != nil {
		return number(err)
	}
	return 0
}

// number returns the errno in err, which comes from a system call.
func number(err error) syscall.Errno {
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}
