package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"conch/pkg/cron"
	"conch/pkg/stream"
)

const (
	sinkBacklog = 10000 // records that may wait for a sink
	sinkBatch   = 500   // records in one request
	sinkEvery   = time.Second
	sinkTimeout = 10 * time.Second
	sinkTries   = 5
	sinkLast    = 5 * time.Second // for what is queued at the end
)

// Sink takes the record of each run that has ended: a line of JSON, appended to
// a file or posted to a URL. It never holds a runner up: what it cannot get rid
// of is dropped, and said.
type Sink struct {
	w    io.Writer // nil: post
	f    *stream.File
	url  string
	name string // url, without what it may hold of secrets
	bulk bool   // in the form of Elasticsearch and OpenSearch
	warn func(text string)

	queue  chan []byte
	done   chan struct{}
	once   sync.Once
	ctx    context.Context // of what is posted
	cancel context.CancelFunc
}

// record is a run as a sink gets it.
type record struct {
	Job  string    `json:"job"`
	ID   string    `json:"id"`
	Tick time.Time `json:"tick"`
	*cron.Run
	Seconds float64 `json:"seconds"` // from its beginning to its end
}

// OpenSink opens what target names: a file, "-" for out, or an http or https
// URL. To one that ends in /_bulk each record goes with the line before it that
// Elasticsearch's bulk interface wants. warn is told of what goes wrong.
func OpenSink(target string, out io.Writer, warn func(text string)) (*Sink, error) {
	s := &Sink{warn: warn, queue: make(chan []byte, sinkBacklog), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	switch u, err := url.Parse(target); {
	case target == "-":
		s.w = out
	case err == nil && (u.Scheme == "http" || u.Scheme == "https"):
		if u.Host == "" {
			return nil, fmt.Errorf("%q names no host", target)
		}
		s.name = u.Scheme + "://" + u.Host + u.Path
		s.url, s.bulk = target, strings.HasSuffix(u.Path, "/_bulk")
	default:
		if s.f, err = stream.Open(target, 0o600); err != nil {
			return nil, err
		}
		s.w = s.f
	}
	go s.serve()
	return s, nil
}

// Add queues a run.
func (s *Sink) Add(run *cron.Run) {
	r := record{Job: run.Job, ID: run.RunID.String(), Tick: run.Tick, Run: run}
	if !run.Began.IsZero() {
		r.Seconds = run.Ended.Sub(run.Began).Seconds()
	}
	b, err := json.Marshal(r)
	if err != nil {
		s.warn(err.Error())
		return
	}
	select {
	case s.queue <- append(b, '\n'):
	default:
		s.once.Do(func() { s.warn("reports are dropped: what takes them is too slow") })
	}
}

// Close writes what is queued, so far as that is possible in sinkLast.
func (s *Sink) Close() {
	close(s.queue)
	last := time.AfterFunc(sinkLast, s.cancel)
	select {
	case <-s.done:
		if s.f != nil {
			s.f.Close()
		}
	case <-time.After(sinkLast + time.Second): // what reads a pipe has stopped
		s.warn("reports lost: they are not read")
	}
	last.Stop()
	s.cancel()
}

func (s *Sink) serve() {
	defer close(s.done)
	for first := range s.queue {
		lines := s.gather([][]byte{first})
		if err := s.write(lines); err != nil {
			s.warn(fmt.Sprintf("reports lost (%d): %v", len(lines), err))
		}
	}
}

// gather adds to lines what else there is; for a URL also what comes in a while.
func (s *Sink) gather(lines [][]byte) [][]byte {
	if s.w != nil {
		return lines
	}
	wait := time.After(sinkEvery)
	for len(lines) < sinkBatch {
		select {
		case b, ok := <-s.queue:
			if !ok {
				return lines
			}
			lines = append(lines, b)
		case <-wait:
			return lines
		}
	}
	return lines
}

func (s *Sink) write(lines [][]byte) error {
	if s.w != nil {
		_, err := s.w.Write(bytes.Join(lines, nil))
		return err
	}
	var body bytes.Buffer
	for _, b := range lines {
		if s.bulk {
			body.WriteString("{\"index\":{}}\n")
		}
		body.Write(b)
	}
	for try := 1; ; try++ {
		err := s.post(body.Bytes())
		switch {
		case err != nil && s.ctx.Err() != nil:
			return fmt.Errorf("%s does not answer in time", s.name)
		case err == nil || try == sinkTries:
			return err
		}
		select {
		case <-time.After(time.Second << (try - 1)):
		case <-s.ctx.Done():
			return err
		}
	}
}

func (s *Sink) post(body []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, sinkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(req)
	var asked *url.Error
	if errors.As(err, &asked) {
		return fmt.Errorf("%s: %w", s.name, asked.Err) // its own text quotes all of the URL
	} else if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s", s.name, resp.Status)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return err
}
