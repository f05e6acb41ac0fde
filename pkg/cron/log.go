package cron

import (
	"fmt"
	"path/filepath"
	"strings"

	"conch/pkg/keys"
)

// LogFile returns the file in which the host of an attempt keeps all of its output;
// "": it keeps none. No other attempt of any run has a file of that name.
func (r *Run) LogFile() string {
	if r.Log == "" {
		return ""
	}
	return filepath.Join(r.Log, logDir(r.Job), fmt.Sprintf("%s-%03d-%s.log", keys.Tick(r.Tick), r.Attempt, r.Claim))
}

// logDir is the directory of a job. The name of a job may be . or .., or begin so.
func logDir(job string) string {
	if rest, hidden := strings.CutPrefix(job, "."); hidden {
		return "%2E" + rest
	}
	return job
}

// IsLogName reports whether name is that of a file, without its directory, as LogFile
// calls them.
func IsLogName(name string) bool {
	stem, ok := strings.CutSuffix(name, ".log")
	part := strings.Split(stem, "-")
	if !ok || len(part) != 3 || len(part[1]) != 3 || len(part[2]) != 16 {
		return false
	}
	_, isTick := keys.ParseTick(part[0])
	return isTick && strings.Trim(part[1], "0123456789") == "" && strings.Trim(part[2], "0123456789abcdef") == ""
}
