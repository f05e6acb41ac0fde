package cli

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/clock"
)

// ParseDuration reads a length of time as every tool takes it; see
// clock.ParseDuration.
func ParseDuration(text string) (time.Duration, error) { return clock.ParseDuration(text) }

// ParseSignal reads a signal by name, with or without SIG, or by number.
func ParseSignal(text string) (syscall.Signal, error) {
	const last = 64
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > last {
			return 0, fmt.Errorf("no signal has the number %d", n)
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("%q is not a signal such as TERM, SIGTERM or 15", text)
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "true", "yes", "on":
		return true, nil
	case "0", "false", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", text)
}
