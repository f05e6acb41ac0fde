package runner

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"conch/pkg/cron"
)

// receiver takes what is posted as a bulk interface does: a document that there is stays
// as it is. Its answers come in turn: "503" or "items:201,400" for a request, "lost" for
// one that is done and not answered; then all goes well.
type receiver struct {
	t *testing.T
	*httptest.Server
	mu      sync.Mutex
	answers []string
	asked   int
	offered []int    // documents, in each request that was answered with items
	docs    []string // "ID STATE", in the order in which they were made
	headers http.Header
}

func newReceiver(t *testing.T, answers ...string) *receiver {
	r := &receiver{t: t, answers: answers}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	r.headers = req.Header
	answer := ""
	if len(r.answers) > 0 {
		answer, r.answers = r.answers[0], r.answers[1:]
	}
	var status int
	if n, _ := fmt.Sscan(answer, &status); n == 1 {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		return
	}
	text := r.bulk(strings.Split(strings.TrimSuffix(string(body), "\n"), "\n"), strings.Split(strings.TrimPrefix(answer, "items:"), ","))
	if answer == "lost" {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprint(w, text)
}

// bulk does what the lines of a request ask for, or what is to be answered.
func (r *receiver) bulk(lines, statuses []string) string {
	var items []string
	for i := 0; i+1 < len(lines); i += 2 {
		var action struct {
			Create struct {
				ID string `json:"_id"`
			}
		}
		var doc struct {
			Timestamp time.Time `json:"@timestamp"`
			State     string
		}
		if err := json.Unmarshal([]byte(lines[i]), &action); err != nil || action.Create.ID == "" {
			r.t.Errorf("%s: %v", lines[i], err)
		}
		if err := json.Unmarshal([]byte(lines[i+1]), &doc); err != nil || doc.Timestamp.IsZero() {
			r.t.Errorf("%s: %v", lines[i+1], err)
		}
		status, id := "201", action.Create.ID
		if i/2 < len(statuses) && len(statuses[i/2]) == 3 {
			status = statuses[i/2]
		}
		if slices.ContainsFunc(r.docs, func(d string) bool { return strings.HasPrefix(d, id+" ") }) {
			status = "409"
		}
		if status == "201" {
			r.docs = append(r.docs, id+" "+doc.State)
		}
		items = append(items, fmt.Sprintf(`{"create":{"_id":%q,"status":%s,"error":{"type":"type%s","reason":"because %s"}}}`, id, status, status, id))
	}
	r.offered = append(r.offered, len(items))
	return fmt.Sprintf(`{"took":1,"errors":true,"items":[%s]}`, strings.Join(items, ","))
}

func (r *receiver) want(asked int, docs ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked != asked || !slices.Equal(r.docs, docs) {
		r.t.Errorf("asked %d times, not %d; there is %q, not %q", r.asked, asked, r.docs, docs)
	}
}

// warnings are what a sink has said.
type warnings struct {
	mu  sync.Mutex
	all []string
}

func (w *warnings) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

func (w *warnings) want(t *testing.T, beginnings ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.EqualFunc(w.all, beginnings, strings.HasPrefix) {
		t.Errorf("said %q, not %q", w.all, beginnings)
	}
}

// open opens a sink that does not wait long between two tries.
func open(t *testing.T, cfg SinkConfig) (*Sink, *warnings) {
	t.Helper()
	return openWith(t, cfg, 10*time.Millisecond)
}

func openWith(t *testing.T, cfg SinkConfig, unit time.Duration) (*Sink, *warnings) {
	t.Helper()
	w := &warnings{}
	cfg.Warn = w.add
	s, err := openSink(cfg, unit)
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

// ended is the end of the n-th attempt of the sample.
func ended(n int, state cron.State) *cron.Run {
	r := sample()
	r.Attempt, r.State, r.Claim, r.Ended = n, state, fmt.Sprint("claim", n), time.Unix(1e9+1, 0).UTC()
	return r
}

const sampleID = "job/0001000000000/"

func TestSinkFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs")
	for range 2 { // it appends
		s, said := open(t, SinkConfig{Target: path})
		s.Add(ended(1, cron.Failed), nil, false)
		s.Close()
		said.want(t)
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), `{"job":"job","id":"job/0001000000000","tick":"2001-09-09T01:46:40Z","@timestamp":"2001-09-09T01:46:41Z","state":"failed"`) != 2 || strings.Count(string(b), "\n") != 2 {
		t.Errorf("%s, %v", b, err)
	}
}

// Each record is made once, however often it takes, and what beside an attempt's end is
// told of is a record of its own.
func TestSinkBulk(t *testing.T) {
	r := newReceiver(t, "503", "429", "items:201,429,503,201", "lost")
	s, said := open(t, SinkConfig{Target: r.URL + "/runs/_bulk"})
	for i, state := range []cron.State{cron.Retrying, cron.Retrying, cron.Killed} {
		s.Add(ended(i+1, state), nil, false)
	}
	s.Add(ended(3, cron.Killed), nil, true)
	s.Close()
	r.want(5, sampleID+"1 retrying", sampleID+"3/claim3-killed killed", sampleID+"2 retrying", sampleID+"3 killed")
	said.want(t, "2 reports wait in memory: "+r.URL+"/runs/_bulk", "reports are delivered again")
	if n, waiting := s.Counts(); n != [3]int64{4, 0, 0} || waiting != 0 {
		t.Errorf("%d, %d wait", n, waiting)
	}
}

// What is not wanted is said once for each kind of reason, and stops nothing else.
func TestSinkRefused(t *testing.T) {
	r := newReceiver(t, "items:400,201,413,400,429")
	s, said := open(t, SinkConfig{Target: r.URL + "/_bulk"})
	for i := range 5 {
		s.Add(ended(i+1, cron.OK), nil, false)
	}
	s.Close()
	r.want(2, sampleID+"2 ok", sampleID+"5 ok")
	at := r.URL + "/_bulk answers "
	said.want(t, isRefused+sampleID+"1: "+at+"400 Bad Request type400: because "+sampleID+"1", isRefused+sampleID+"3: "+at+"413 Request Entity Too Large type413: because "+sampleID+"3")
	if n, waiting := s.Counts(); n != [3]int64{2, 3, 0} || waiting != 0 {
		t.Errorf("%d, %d wait", n, waiting)
	}
}

// What is about the index or the key, a disk that is full say, is somebody's to mend, though
// each item is answered so: it waits, and that is said once.
func TestSinkBlocked(t *testing.T) {
	r := newReceiver(t, "items:201,401,403,404", "items:403,403,403", "items:403,404,401", "items:403,403,403", "items:403")
	s, said := open(t, SinkConfig{Target: r.URL + "/_bulk"})
	for i := range 4 {
		s.Add(ended(i+1, cron.OK), nil, false)
	}
	s.Close()
	r.want(6, sampleID+"1 ok", sampleID+"3 ok", sampleID+"4 ok", sampleID+"2 ok")
	said.want(t, "3 reports wait in memory: "+r.URL+"/_bulk answers 403 Forbidden type403", "reports are delivered again")
	if n, waiting := s.Counts(); n != [3]int64{4, 0, 0} || waiting != 0 {
		t.Errorf("%d, %d wait", n, waiting)
	}
}

const isRefused = "a report is refused, and what is refused likewise within 1h0m0s is not said: "

// One record that is not fit to be taken takes no other with it.
func TestSinkUnfit(t *testing.T) {
	r := newReceiver(t, "413", "400", "400", "items:201", "items:201")
	s, said := open(t, SinkConfig{Target: r.URL + "/_bulk"})
	for i := range 3 {
		s.Add(ended(i+1, cron.OK), nil, false)
	}
	s.Close()
	r.want(5, sampleID+"2 ok", sampleID+"3 ok")
	said.want(t, isRefused+sampleID+"1: ")
}

// Neither an answer that is not the bulk interface's nor a redirect is a success.
func TestSinkStrangers(t *testing.T) {
	for _, answer := range []string{"200", "204", "302", "401", "404"} {
		r := newReceiver(t, answer)
		s, said := open(t, SinkConfig{Target: r.URL + "/_bulk"})
		s.Add(ended(1, cron.OK), nil, false)
		s.Close()
		r.want(2, sampleID+"1 ok")
		said.want(t)
	}
}

// What cannot be delivered waits in the spool, and goes first with the next runner.
func TestSinkSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reports")
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	s, said := openWith(t, SinkConfig{Target: down.URL + "/_bulk", Spool: dir}, time.Hour)
	for i := range batchRecords + 1 {
		s.Add(ended(i+1, cron.OK), nil, false)
	}
	s.cancel() // as if time were over
	s.Close()
	said.want(t, fmt.Sprintf("%d reports wait in %s for the next start", batchRecords+1, dir))

	// as a host that lost its power leaves it
	if err := os.WriteFile(filepath.Join(dir, reportName(2)), []byte(sampleID+"501 {\"@timestamp\":\"2001-09-09T01:46:40Z\",\"state\":\"ok\"}\n"+sampleID+"502 {\"@tim"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(t, "items:201,429")
	s, said = open(t, SinkConfig{Target: r.URL + "/_bulk", Spool: dir})
	s.Add(ended(999, cron.OK), nil, false)
	s.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.docs) != batchRecords+2 || r.docs[0] != sampleID+"1 ok" || r.docs[batchRecords-1] != sampleID+"2 ok" || r.docs[batchRecords+1] != sampleID+"999 ok" {
		t.Errorf("%d: %.200q", len(r.docs), r.docs)
	}
	if !slices.Equal(r.offered, []int{batchRecords, 1, 1, 1}) {
		t.Errorf("%d are offered", r.offered)
	}
	said.want(t)
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("%v is left", files)
	}
}

// A full disk, or a directory that is gone, costs the reports no more than their place.
func TestSinkSpoolFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reports")
	r := newReceiver(t)
	s, said := open(t, SinkConfig{Target: r.URL + "/_bulk", Spool: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Add(ended(1, cron.OK), nil, false)
	s.Add(ended(2, cron.OK), nil, false)
	s.Close()
	r.want(1, sampleID+"1 ok", sampleID+"2 ok")
	said.want(t)
}

// There is a bound to what waits, and what goes for it is the oldest, and said.
func TestBacklogBound(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		b, err := openBacklog(dir)
		if err != nil {
			t.Fatal(err)
		}
		lost, added := 0, 0
		line := []byte(`"` + strings.Repeat("x", backlogBytes/1000) + `"`)
		if dir == "" {
			line = []byte("1")
		}
		for lost == 0 {
			if added++; added > 2*backlogRecords {
				t.Fatal("there is no bound")
			}
			lost = b.add(report{fmt.Sprint(added), line})
		}
		all, held := b.count()
		if all != added-lost || (dir == "") != (held > 0) || b.bytes > backlogBytes || held > backlogRecords {
			t.Errorf("%d added, %d lost, %d there, %d in memory, %d bytes", added, lost, all, held, b.bytes)
		}
		if got, _, _ := b.take(); got[0].id != fmt.Sprint(lost+1) {
			t.Errorf("the oldest is %s, after %d", got[0].id, lost)
		}
	}
}

// A server that never answers holds nobody up for long, and what is lost is said.
func TestSinkDead(t *testing.T) {
	hung := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hung }))
	defer srv.Close()
	defer close(hung)
	s, said := open(t, SinkConfig{Target: srv.URL})
	s.Add(ended(1, cron.OK), nil, false)
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > postTimeout+sinkLast {
		t.Errorf("it took %v", took)
	}
	said.want(t, "reports lost (1): ")
}

func TestSinkHeaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "headers")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# a key\nAuthorization: ApiKey one:two\n\n  X-Team:a b\n")
	r := newReceiver(t)
	s, said := open(t, SinkConfig{Target: r.URL + "/_bulk", HeaderFile: file})
	s.Add(ended(1, cron.OK), nil, false)
	waitFor(t, func() bool { n, _ := s.Counts(); return n[Delivered] == 1 })
	if r.headers.Get("Authorization") != "ApiKey one:two" || r.headers.Get("X-Team") != "a b" || r.headers.Get("Content-Type") != "application/x-ndjson" {
		t.Error(r.headers)
	}
	write("Authorization: ApiKey three") // it is read again
	s.Add(ended(2, cron.OK), nil, false)
	s.Close()
	if r.headers.Get("Authorization") != "ApiKey three" {
		t.Error(r.headers)
	}
	said.want(t)
	write("secret\n")
	if _, err := OpenSink(SinkConfig{Target: r.URL, HeaderFile: file}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it did not come")
		}
	}
}

func TestSinkCACert(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca")
	r := &receiver{t: t}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	r.StartTLS()
	defer r.Close()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
	if err := os.WriteFile(file, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	s, said := open(t, SinkConfig{Target: r.URL + "/_bulk"})
	s.Add(ended(1, cron.OK), nil, false)
	waitFor(t, func() bool { said.mu.Lock(); defer said.mu.Unlock(); return len(said.all) > 0 })
	s.cancel()
	s.Close()
	said.want(t, "1 reports wait in memory: "+r.URL+"/_bulk: tls: failed to verify certificate: x509: ", "reports lost (1): ")
	r.want(0)
	s, said = open(t, SinkConfig{Target: r.URL + "/_bulk", CACert: file})
	s.Add(ended(1, cron.OK), nil, false)
	s.Close()
	r.want(1, sampleID+"1 ok")
	said.want(t)
}

func TestSinkBad(t *testing.T) {
	dir := t.TempDir()
	for _, cfg := range []SinkConfig{
		{Target: "/nowhere/there"},
		{Target: "http:///x"},
		{Target: "https://x/", CACert: "/nowhere"},
		{Target: "https://x/", CACert: os.Args[0]},
		{Target: "https://x/", HeaderFile: "/nowhere"},
		{Target: filepath.Join(dir, "file"), HeaderFile: "/dev/null"},
		{Target: "-", CACert: "/dev/null"},
	} {
		if _, err := OpenSink(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}
