package cli_test

import (
	"testing"
	"time"
)

func TestShapes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"jobs", "-n", "--", "ls", "-x"}, `"jobs" true ["ls" "-x"]`},
		{[]string{"-n", "jobs", "ls", "-x"}, `"jobs" true ["ls" "-x"]`},
		{[]string{"jobs", "--ttl", "5s", "ls", "--ttl", "9s"}, `"jobs" true ["ls" "--ttl" "9s"]`},
		{[]string{"jobs", "--", "ls", "--", "a"}, `"jobs" true ["ls" "--" "a"]`},
		{[]string{"jobs", "ls", "--", "a"}, `"jobs" true ["ls" "--" "a"]`},
		{[]string{"-nw3s", "jobs", "ls"}, `"jobs" true ["ls"]`},
		{[]string{"--", "ls", "-l"}, `"" false ["ls" "-l"]`},
		{[]string{"-n", "--", "ls"}, `"" false ["ls"]`},
		{[]string{"jobs"}, `"jobs" true []`},
		{[]string{"jobs", "--"}, `"jobs" true []`},
		{[]string{"--nonblock", "jobs"}, `"jobs" true []`},
		{[]string{"jobs", "--nonblock"}, `"jobs" true []`},
		{[]string{"jobs", "ls", "--help"}, `"jobs" true ["ls" "--help"]`},
		{[]string{"jobs", "x.test", "-test.v"}, `"jobs" true ["x.test" "-test.v"]`},
		{[]string{"-", "-"}, `"-" true ["-"]`},
		{[]string{"", ""}, `"" true [""]`},
		{[]string{"jobs", "-c", "--", "-n"}, `"jobs" true []`},
		{[]string{"jobs", "--ttl=5s", "-w=3s", "\xff", "\n"}, `"jobs" true ["\xff" "\n"]`},
	} {
		got, status, _, stderr := run(nil, tt.args...)
		if status != 0 || show(got.args) != tt.want {
			t.Errorf("%q: status %d, got %s, want %s (%s)", tt.args, status, show(got.args), tt.want, stderr)
		}
	}
}

func TestShapesSet(t *testing.T) {
	got, _, _, _ := run(nil, "jobs", "--ttl", "5s", "-nw3s", "ls", "--ttl", "9s")
	if got.ttl != 5*time.Second || !got.nonblock || got.wait != 3*time.Second {
		t.Errorf("got %+v", got.options)
	}
	got, _, _, _ = run([]string{"CONCH_NONBLOCK=1"}, "jobs", "-n=no", "-c", "--", "true")
	if got.nonblock || got.shell != "--" {
		t.Errorf("got %+v", got.options)
	}
}
