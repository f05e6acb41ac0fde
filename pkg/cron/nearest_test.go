package cron

import "testing"

// What is enabled is not paused: no field says that.
func TestFieldMeant(t *testing.T) {
	for typed, want := range map[string]string{"suspended": "paused", "Disabled": "paused", "enabled": "", "active": "", "time_zone": "tz", "runAs": "user"} {
		if got := FieldMeant(typed); got != want {
			t.Errorf("%s: %q", typed, got)
		}
	}
}
