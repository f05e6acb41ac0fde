package runner

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"conch/pkg/cron"
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
	for _, name := range []string{"index-template.json", "data-stream.json"} {
		b, err := os.ReadFile("../../contrib/elasticsearch/" + name)
		if err != nil || !json.Valid(b) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
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
