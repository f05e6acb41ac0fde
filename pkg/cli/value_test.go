package cli_test

import (
	"math"
	"strconv"
	"testing"
	"time"

	"conch/pkg/cli"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"10s": 10 * time.Second, "1h30m": 90 * time.Minute, "2d": 2 * day, "1d12h": 36 * time.Hour,
		"500ms": 500 * time.Millisecond, "1.5h": 90 * time.Minute, "0s": 0, "0": 0, "106751d": 106751 * day,
	} {
		if got, err := cli.ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "10", "00", "0.0", "+0", "-0", "1.5", "-5s", "+", "d", "1dd", "2d-1h", "1d+1h", "1.5d", "d5s", "5",
		"106752d", "106751d24h", "99999999999d", "1e3", "inf", "NaN", "0x10", "1h ", " 1h", "9999999h", "--5s"} {
		if got, err := cli.ParseDuration(text); err == nil {
			t.Errorf("%q was taken as %v", text, got)
		}
	}
}

// FuzzParseDuration checks against time.ParseDuration: without days the two
// agree, and days are 24 hours.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"10s", "1d", "1h30m", "10", "-1s", "0", "1.5h"} {
		f.Add(seed, uint16(2))
	}
	f.Fuzz(func(t *testing.T, text string, days uint16) {
		want, wantErr := time.ParseDuration(text)
		got, err := cli.ParseDuration(text)
		if err == nil && (got < 0 || wantErr == nil && got != want) {
			t.Errorf("%q: %v, time.ParseDuration says %v, %v", text, got, want, wantErr)
		}
		if err != nil || wantErr != nil {
			return
		}
		whole := time.Duration(days) * 24 * time.Hour
		if text[0] == '+' || want > math.MaxInt64-whole {
			return
		}
		withDays := strconv.Itoa(int(days)) + "d" + text
		if got, err := cli.ParseDuration(withDays); err != nil || got != whole+want {
			t.Errorf("%q: %v, %v, want %v", withDays, got, err, whole+want)
		}
	})
}
