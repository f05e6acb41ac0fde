package runner

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
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

func TestSinkFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs")
	for range 2 { // it appends
		s, err := OpenSink(path, nil, func(text string) { t.Error(text) })
		if err != nil {
			t.Fatal(err)
		}
		s.Add(sample())
		s.Close()
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), `{"job":"job","id":"0001000000000","tick":"2001-09-09T01:46:40Z","state":"failed"`) != 2 || strings.Count(string(b), "\n") != 2 {
		t.Errorf("%s, %v", b, err)
	}
}

// A server that fails for a while gets all, each with the line before it that the
// bulk interface wants.
func TestSinkBulk(t *testing.T) {
	got := make(chan string, 10)
	fails := 1
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if fails > 0 {
			fails--
			http.Error(w, "busy", http.StatusTooManyRequests)
			return
		}
		got <- r.Header.Get("Content-Type") + "\n" + string(b)
	}))
	defer srv.Close()
	s, err := OpenSink(srv.URL+"/runs/_bulk", nil, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	s.Add(sample())
	s.Add(sample())
	s.Close()
	lines := strings.Split(strings.TrimSpace(<-got), "\n")
	if len(lines) != 5 || lines[0] != "application/x-ndjson" || lines[1] != `{"index":{}}` || lines[3] != lines[1] || !strings.HasPrefix(lines[4], `{"job":"job"`) {
		t.Errorf("%q", lines)
	}
}

// A server that never answers holds nobody up for long, and what is lost is said.
func TestSinkDead(t *testing.T) {
	hung := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hung }))
	defer srv.Close()
	defer close(hung)
	warned := make(chan string, 10)
	s, err := OpenSink(srv.URL, nil, func(text string) { warned <- text })
	if err != nil {
		t.Fatal(err)
	}
	s.Add(sample())
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > sinkTimeout+sinkLast {
		t.Errorf("it took %v", took)
	}
	if text := <-warned; !strings.HasPrefix(text, "reports lost (1): ") {
		t.Error(text)
	}
}

func TestSinkWarns(t *testing.T) {
	if _, err := OpenSink("/nowhere/there", nil, nil); err == nil {
		t.Error("a file that cannot be made is taken")
	}
	if _, err := OpenSink("http:///x", nil, nil); err == nil {
		t.Error("a URL without a host is taken")
	}
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
