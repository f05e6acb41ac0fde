// Package sentinel is the process that stands between a supervisor and its
// command: a raw fork of the supervisor that never returns into Go's runtime.
// It does not outlive a SIGKILL of itself, and does not see one coming; what is
// left then is package proc's to clear up.
//
// The sentinel is the command's parent and a subreaper, so every descendant of
// the command whose own parent dies becomes the sentinel's child: one that
// called setsid or forked twice as well. It kills the tree by killing each of
// its children, again and again until the kernel says that it has none. A cgroup
// of the tree's own, where there is one, is killed as well, and must be empty. A
// child that sleeps in the kernel does not die before it wakes: meanwhile what is
// below it is killed, and the supervisor is told.
//
// The files of this package fall in two. Arena.go and the files of package
// proc that fill an Arena are ordinary Go. Everything reached from Fork is not,
// because it runs in the copy that a raw fork makes of a threaded process: one
// thread, on a borrowed stack, with the runtime's locks in whatever state they
// were and without its heap. The rules there:
//
//  1. Every function is nosplit, norace and nocheckptr, and calls only such
//     functions. There is no stack to grow, no scheduler, no race detector. The
//     linker checks the depth (some 800 bytes in all), so functions are short
//     and buffers lie in the Arena.
//  2. No Go memory: no variable of a package, no allocation, no string, slice,
//     map, channel, closure, interface, defer or panic; neither the heap nor the
//     program's data is mapped here. What is needed lies in the Arena, which is
//     mapped outside the heap and shared with the supervisor. No pointer is
//     ever stored (a write barrier may be on); addresses are kept as uintptr.
//  3. System calls go through sys. Syscall's and x/sys's take too much of the
//     stack, or read the thread's g, which is gone.
//  4. Nothing is indexed or divided by a variable, so that no check can panic:
//     see word and setWord.
//  5. No sync/atomic: under the race detector it calls into the detector. The
//     sentinel stores plainly and then makes a system call; each word stands
//     for itself, and the supervisor reads words atomically, after a byte or an
//     end of file on the report pipe.
//  6. All signals stay blocked, from before the fork to the end.
package sentinel
