package cron

import (
	"fmt"
	"slices"
	"strings"

	"conch/pkg/nearest"
)

// DidYouMean returns `: did you mean "x"?` for the known word nearest to what
// was typed, or nothing where none is near.
func DidYouMean(typed string, known []string) string {
	if word := nearest.Word(strings.ToLower(typed), known); word != "" {
		return fmt.Sprintf(": did you mean %q?", word)
	}
	return ""
}

// elsewhere are the names that fields of a job have with others: schedulers, crontabs
// and what runs containers.
var elsewhere = map[string]string{
	"name":        "id title job",
	"description": "comment summary",
	"owners":      "team contact maintainer",
	"schedule":    "cron every interval when expression spec rule calendar oncalendar",
	"tz":          "timezone zone location",
	"splay":       "jitter randomdelay randomizeddelaysec",
	"starts":      "startsat startat startdate notbefore from",
	"expires":     "expiresat end enddate endat until notafter",
	"paused":      "suspend suspended disabled disable",
	"cmd":         "command args argv exec execstart run program entrypoint",
	"script":      "shell bash sh",
	"stdin":       "input payload",
	"env":         "environment variables vars",
	"cwd":         "workdir workingdir workingdirectory dir directory chdir",
	"user":        "runas username uid",
	"on":          "label labels tags selector nodeselector node nodes host hosts where placement runner runners",
	"overlap":     "concurrency concurrencypolicy maxconcurrency parallel allowoverlap",
	"misfire":     "catchup backfill persistent",
	"deadline":    "startingdeadlineseconds startingdeadline startdeadline grace misfiregracetime",
	"run-ttl":     "timeout maxrun ttl timelimit runtimemaxsec activedeadlineseconds executiontimeout",
	"retry":       "retries backofflimit attempts maxretries restart backoff",
	"keep":        "history historylimit retention",
	"output":      "log logs stdout",
	"on-failure":  "onerror notify mailto alert",
}

// FieldMeant returns the field of a job that has another name elsewhere, or "".
func FieldMeant(name string) string {
	name = strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(name))
	for field, others := range elsewhere {
		if slices.Contains(strings.Fields(others), name) {
			return field
		}
	}
	return ""
}
