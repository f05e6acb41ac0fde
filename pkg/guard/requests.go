package guard

import (
	"os"
	"os/signal"
	"syscall"

	"conch/pkg/proc"
)

// Requests hears the signals that ask this process to end, for who runs no command
// and has something to clear up, until stop is called.
func Requests() (c <-chan os.Signal, stop func()) {
	heard := make(chan os.Signal, 1)
	for _, s := range requests {
		if !proc.Ignored(s.(syscall.Signal)) {
			signal.Notify(heard, s)
		}
	}
	return heard, func() { signal.Stop(heard) }
}
