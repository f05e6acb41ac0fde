package cli

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ParseDuration reads a length of time as the tools take it: as
// time.ParseDuration does, and with days before the rest, "2d" or "1d12h". A
// bare number is refused: it is seconds to one reader and minutes to the next.
func ParseDuration(text string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(text, 64); err == nil && strings.Trim(text, "+0123456789.") == "" {
		return 0, fmt.Errorf("%q has no unit: did you mean %ss?", text, text)
	}
	if strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("%q is negative", text)
	}
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	n, errDays := strconv.ParseUint(days, 10, 32)
	var d time.Duration
	var err error
	if rest != "" || !found {
		d, err = time.ParseDuration(rest)
	}
	if errDays != nil || err != nil || strings.ContainsAny(rest, "+-") {
		return 0, fmt.Errorf("%q is not a duration such as 10s, 1h30m or 2d", text)
	}
	const day = 24 * time.Hour
	if time.Duration(n) > (1<<63-1-d)/day {
		return 0, fmt.Errorf("%q is too long", text)
	}
	return time.Duration(n)*day + d, nil
}

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
