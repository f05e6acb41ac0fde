package runner

import (
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// written is what comes of text that a command writes.
func written(t *testing.T, text string) (lines []string, tail string) {
	t.Helper()
	o, err := newOutput("", func(b []byte) { lines = append(lines, string(b)) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(o.w, text); err != nil {
		t.Fatal(err)
	}
	o.close(true)
	tail, _ = o.kept()
	return lines, tail
}

func TestOutput(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct {
		text  string
		lines []string
	}{
		{"", nil},
		{"one\ntwo\n", []string{"one", "two"}},
		{"one\n\nno end", []string{"one", "", "no end"}},
		{long + "y\nz\n", []string{long, "y", "z"}},
	} {
		lines, tail := written(t, c.text)
		if !slices.Equal(lines, c.lines) {
			t.Errorf("%.20q: %d lines, not %d", c.text, len(lines), len(c.lines))
		}
		if want := c.text[max(0, len(c.text)-cron.MaxTail):]; tail != want {
			t.Errorf("%.20q: the tail has %d bytes, not %d", c.text, len(tail), len(want))
		}
	}
	if _, tail := written(t, "\xffa"); tail != "\uFFFDa" {
		t.Errorf("%q is no text for JSON", tail)
	}
}

func TestInput(t *testing.T) {
	text := strings.Repeat("line\n", 20000) // more than a pipe holds
	f, err := input(text)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != text {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// A word is one word to a shell, whatever is in it.
func TestQuote(t *testing.T) {
	for _, word := range []string{"", "a b", "it's", `"$HOME"`, "`id`", "a\nb", `\`, "*", "''"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q becomes %q, %v", word, out, err)
		}
	}
}

// FuzzQuote has a shell for its oracle.
func FuzzQuote(f *testing.F) {
	f.Add("it's")
	f.Fuzz(func(t *testing.T, word string) {
		if strings.Contains(word, "\x00") {
			return // no argument can have one
		}
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q becomes %q, %v", word, out, err)
		}
	})
}

func sample() *cron.Run {
	code := 3
	return &cron.Run{RunID: keys.RunID{Job: "job", Tick: time.Unix(1e9, 0).UTC()}, State: cron.Failed, Exit: &code}
}

// What is the runner's own is not the command's.
func TestEnvironIsOnes(t *testing.T) {
	s := &session{daemon: &daemon{cfg: Config{Env: []string{"PATH=/x", "CONCH_PASSWORD=secret", "ETCDCTL_USER=u", "NOTIFY_SOCKET=/n", "LANG=C", "A=1"}}}}
	r := &running{session: s, run: sample(), spec: &cron.Job{Name: "job", Env: map[string]string{"A": "2"}}}
	s.lease = testLease(t)
	env := r.environ(nil)
	for name, want := range map[string]string{"PATH": "/x", "LANG": "C", "A": "2", "CONCH_JOB": "job", "CONCH_TICK": "2001-09-09T01:46:40Z", "CONCH_RUN": "job/0001000000000"} {
		if got := lookup(env, name, "unset"); got != want {
			t.Errorf("%s=%s, not %s", name, got, want)
		}
	}
	for _, name := range []string{"CONCH_PASSWORD", "ETCDCTL_USER", "NOTIFY_SOCKET"} {
		if got := lookup(env, name, "unset"); got != "unset" {
			t.Errorf("%s=%s is passed on", name, got)
		}
	}
}

// testLease is a lease that has not been granted.
func testLease(t *testing.T) *lease.Lease {
	t.Helper()
	l, err := lease.New(nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
