package proc

import (
	"runtime"
	"sync"
)

// Of what a process that guards commands does at a time.
const (
	processors = 4 // that it runs on
	blocking   = 8 // system calls that block, in a stopped terminal for one
)

// Reserve makes the threads that this process may need, at once. The runtime makes
// one when it needs one more, dies if it cannot, and gives none back: a command that
// uses up what there may be of processes must not have that effect on who guards
// it. More processors would need more threads.
func Reserve() {
	if runtime.GOMAXPROCS(0) > processors {
		runtime.GOMAXPROCS(processors)
	}
	n := runtime.GOMAXPROCS(0) + blocking
	var here, over sync.WaitGroup
	here.Add(n)
	for range n {
		over.Go(func() {
			runtime.LockOSThread() // one each
			defer runtime.UnlockOSThread()
			here.Done()
			here.Wait()
		})
	}
	over.Wait()
}
