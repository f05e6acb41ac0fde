// Command stamp is what is run under a hold when it matters when it ran: it
// notes when it began and when it ended on CLOCK_MONOTONIC, which all processes
// of a machine share. It imports next to nothing, because the time from its
// exec to its first look at the clock is in what is measured.
package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// stamp FILE DURATION appends "BEGAN ENDED", in nanoseconds, to FILE.
func main() {
	began := now()
	d, err := time.ParseDuration(os.Args[2])
	if err != nil {
		panic(err)
	}
	f, err := os.OpenFile(os.Args[1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		panic(err)
	}
	time.Sleep(d)
	ended := now()
	if _, err := f.WriteString(strconv.FormatInt(began, 10) + " " + strconv.FormatInt(ended, 10) + "\n"); err != nil {
		panic(err)
	}
}

func now() int64 {
	const monotonic = 1
	var t syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		panic(e)
	}
	return t.Nano()
}
