package clock

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a length of time as the tools take it: as
// time.ParseDuration does, and with days before the rest, "2d" or "1d12h". A
// bare number is refused: it is seconds to one reader and minutes to the next; but
// not 0, which is the same to all. A negative one is refused, too.
func ParseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
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
