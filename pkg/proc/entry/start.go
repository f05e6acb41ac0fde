package entry

//lint:file-ignore U1000 conch_start reads and writes what Go does not

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What there has to be for the runtime to start, and for a conch with nothing out of
// the ordinary to do, and a bit more; the manual names it. conch_start reads all of it.
var (
	limit [2]uint64 // a struct rlimit
	gate  uint32    // what the threads wait for

	everything = ^uint64(0) // a signal mask
	before     uint64       // that of this process

	limits = [...]struct {
		number, least uint64
		refusal       string
	}{
		{unix.RLIMIT_AS, 900 << 20, "conch: too little address space: ulimit -v is to be 921600 at least\n"},
		{unix.RLIMIT_DATA, 96 << 20, "conch: too little memory: ulimit -d is to be 98304 at least\n"},
		{unix.RLIMIT_STACK, 128 << 10, "conch: too little stack: ulimit -s is to be 128 at least\n"},
	}
	limitCount uint64 = uint64(len(limits))

	// Descriptors: as many are opened, and closed again.
	files     [15]uint64
	fileCount uint64 = uint64(len(files))
	fewFiles         = "conch: too few open files: ulimit -n is to allow for 15 more at least\n"

	// Threads besides the first: as many are made, and end again. A conch that holds
	// has up to 17 (see proc.Reserve), a sentinel, a command, and for a hook another of
	// both.
	threads    uint64 = 21
	fewThreads        = "conch: too few processes: ulimit -u, or the pids or TasksMax of a container or service, is to allow for 22 more at least, threads among them\n"
	pause             = unix.Timespec{Nsec: 10e6} // before one is tried again
)

// settings are the variables that the runtime reads. In their place conch_start
// puts the name alone.
var settings = [...]struct {
	name  string
	value unsafe.Pointer // of the environment; nil: there is none
}{{name: "GODEBUG=\x00"}, {name: "GOGC=\x00"}, {name: "GOMEMLIMIT=\x00"}, {name: "GOMAXPROCS=\x00"}, {name: "GOTRACEBACK=\x00"}}

var settingCount uint64 = uint64(len(settings))

// Restore puts variables such as GODEBUG back into the environment, where the
// command, and packages such as crypto/x509, are to find them.
func Restore() {
	for _, s := range settings {
		if s.value == nil {
			continue
		}
		// The only error is a name that none can have.
		_ = os.Setenv(s.name[:len(s.name)-2], unix.BytePtrToString((*byte)(s.value)))
	}
}
