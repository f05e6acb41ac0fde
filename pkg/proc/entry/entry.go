// Package entry remembers what a process was given before Go's runtime changed
// it. It knows nothing in a program that was not linked with
// -ldflags='-E conch_entry': Given then says so, and its caller has to make do
// with what is left.
//
// By the time main runs, the runtime has put handlers in place of ignored
// signals (all but HUP and INT), unblocked most of the mask, raised the soft
// limit of open files, and opened /dev/null over closed descriptors 0, 1 and 2.
// A wrapper that is to pass all this on has to look before the runtime does, so
// conch_entry is the program's first instruction: it asks the kernel, notes the
// answers in the variables below and jumps to the runtime's own entry. It uses
// no stack and cannot fail: a refused question leaves a zero.
//
// Conch's own programs begin at conch_start, which goes on to conch_entry. It does
// two things more that can only be done there. Where there is too little of
// something, the runtime dies of a signal or with a dump of its goroutines; so what
// will be needed is asked for first, and who does not get it is told so in a line.
// And variables such as GODEBUG are the command's, not ours: the runtime does not
// find them.
package entry

// State is what the process was given.
type State struct {
	Ignored uint64    // signal n was ignored: bit n-1
	Mask    uint64    // signal n was blocked: bit n-1
	Nofile  [2]uint64 // RLIMIT_NOFILE, soft and hard; 0, 0 if not known
	Closed  [3]bool   // descriptors 0, 1, 2
}

// Written by conch_entry and by nothing else.
var (
	ran     uint64
	ignored uint64
	mask    uint64
	nofile  [2]uint64
	closed  [3]uint64
	//lint:ignore U1000 conch_entry has the kernel write a struct sigaction here
	scratch [4]uint64
)

// Given returns what the process was given, and whether it is known.
func Given() (State, bool) {
	return State{
		Ignored: ignored,
		Mask:    mask,
		Nofile:  nofile,
		Closed:  [3]bool{closed[0] != 0, closed[1] != 0, closed[2] != 0},
	}, ran != 0
}
