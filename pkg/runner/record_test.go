package runner

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// What contrib says of the fields of a report is all of them.
func TestRecordIsMapped(t *testing.T) {
	b, err := os.ReadFile("../../contrib/elasticsearch/mappings.json")
	if err != nil {
		t.Fatal(err)
	}
	var mapped struct {
		Template struct {
			Mappings struct {
				Properties map[string]struct{ Type string }
			}
		}
	}
	if err := json.Unmarshal(b, &mapped); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Keys(mapped.Template.Mappings.Properties))
	got := slices.Concat(fieldsOf(record{}), fieldsOf(cron.Run{}))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("a report has %q\nthe mappings have %q", got, want)
	}
	lacking := slices.DeleteFunc(slices.Clone(want), func(name string) bool { return slices.Contains(writtenFields(t), name) })
	if len(lacking) > 0 {
		t.Errorf("mapped, and in no report: %q", lacking)
	}
	for _, name := range []string{"index-template.json", "data-stream.json"} {
		b, err := os.ReadFile("../../contrib/elasticsearch/" + name)
		if err != nil || !json.Valid(b) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
}

// writtenFields are the fields that are in the reports of a run, of one that is tried again,
// and of a stretch of ticks, each as what a sink gets.
func writtenFields(t *testing.T) (names []string) {
	t.Helper()
	at, three := time.Unix(1e9, 0).UTC(), 3
	run := cron.Run{State: cron.Failed, Claim: "c", Attempt: 2, Node: "n", Host: "h", By: "me", JobRev: 5, Claimed: at, First: at, Began: at, Ended: at, RetryAt: at, Exit: &three,
		Signal: "SIGTERM", Cause: "why", User: 1, System: 1, Skipped: 1, Trace: "t", Tail: "x", Bytes: 1, Log: "/l"}
	note := cron.Run{State: cron.Missed, Claimed: at, Ended: at, Count: 3, Until: at}
	path := filepath.Join(t.TempDir(), "reports")
	s, said := open(t, SinkConfig{Target: path})
	for _, r := range []*cron.Run{&run, &note} {
		r.RunID = keys.RunID{Job: "j", Tick: at}
		s.Add(r, &cron.Job{Owners: []string{"ann"}, Description: "what"}, false)
	}
	s.Close()
	said.want(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		names = append(names, slices.Collect(maps.Keys(fields))...)
	}
	return names
}

// fieldsOf are the names that a struct's own fields have in JSON.
func fieldsOf(v any) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" && len(f.Index) == 1 {
			names = append(names, name)
		}
	}
	return names
}
