package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"conch/pkg/cron"
	"conch/pkg/stream"
)

const (
	sinkEvery = time.Second     // for how long reports are gathered for a request
	sinkMost  = time.Minute     // between two tries
	sinkTries = 3               // that fail before somebody is told
	sinkLast  = 5 * time.Second // for what is queued at the end

	sinkSilence = time.Hour // about refusals of a kind that has been said
)

// Sink takes the record of each run that has ended: a line of JSON, appended to a file
// or posted to a URL. It never holds a runner up, and what it cannot get rid of waits,
// within bounds; what is lost or refused is said.
type Sink struct {
	cfg    SinkConfig
	to     deliverer
	file   *stream.File // to be closed
	queue  *backlog
	unit   time.Duration // between the first two tries
	counts [3]atomic.Int64
	said   bool                 // that reports wait
	kinds  map[string]time.Time // of refusals, and when they were said

	done   chan struct{}
	ctx    context.Context // of what is posted
	cancel context.CancelFunc
}

// SinkConfig says where reports go.
type SinkConfig struct {
	Target     string            // a file, "-" for Out, or an http or https URL
	Out        io.Writer         // standard output
	HeaderFile string            // with lines "NAME: VALUE" for each request; read again for each
	CACert     string            // a file: the authorities for the URL's certificate; "": the system's
	Spool      string            // a directory for what waits; "": in memory
	Warn       func(text string) // is told of what goes wrong
}

// A deliverer hands reports on. It returns those that are to be tried again, and why, and
// those that nobody wants.
type deliverer interface {
	deliver(ctx context.Context, all []report) (left []report, refused []refusal, why error)
}

// refusal is a report that is not wanted, and why: in a word, and in more.
type refusal struct{ id, kind, why string }

// The results that a Sink counts.
const (
	Delivered = iota
	Rejected  // by what takes them
	Dropped   // for want of room, or of somebody to take them until the end
)

// OpenSink opens what cfg.Target names. To a URL that ends in /_bulk each record goes
// with the line before it that the bulk interface of Elasticsearch and OpenSearch wants.
func OpenSink(cfg SinkConfig) (*Sink, error) { return openSink(cfg, time.Second) }

// openSink opens a sink that waits for unit between its first two tries.
func openSink(cfg SinkConfig, unit time.Duration) (*Sink, error) {
	s := &Sink{cfg: cfg, unit: unit, kinds: map[string]time.Time{}, done: make(chan struct{})}
	var err error
	switch u, uerr := url.Parse(cfg.Target); {
	case uerr == nil && (u.Scheme == "http" || u.Scheme == "https"):
		s.to, err = newPoster(u, cfg)
	case cfg.HeaderFile != "" || cfg.CACert != "":
		return nil, errors.New("there are headers and authorities for an http or https URL only")
	case cfg.Target == "-":
		s.to = &writer{w: cfg.Out}
	default:
		if s.file, err = stream.Open(cfg.Target, 0o600); err == nil {
			s.to = &writer{w: s.file}
		}
	}
	if err != nil {
		return nil, err
	}
	if s.queue, err = openBacklog(cfg.Spool); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.serve()
	return s, nil
}

// Add queues a run. spec is its job as far as that is known, or nil. apart: it is not the end of its attempt that is told of, but what
// came beside that.
func (s *Sink) Add(run *cron.Run, spec *cron.Job, apart bool) {
	line, err := json.Marshal(newRecord(run, spec))
	if err != nil {
		s.warn("a report cannot be written: %v", err)
		return
	}
	id := run.RunID.String() + "/" + strconv.Itoa(run.Attempt)
	if apart {
		id += "/" + run.Claim + "-" + string(run.State)
	}
	s.lose(s.queue.add(report{id, line}), "too many wait")
}

// lose says that reports are lost.
func (s *Sink) lose(n int, why string) {
	if n > 0 {
		s.count(Dropped, n)
		s.warn("reports lost (%d): %s", n, why)
	}
}

// Counts returns how many reports there have been of each result, and how many wait.
func (s *Sink) Counts() (results [3]int64, waiting int) {
	for i := range results {
		results[i] = s.counts[i].Load()
	}
	waiting, _ = s.queue.count()
	return results, waiting
}

// Close delivers what waits, so far as that is possible in sinkLast.
func (s *Sink) Close() {
	s.queue.close()
	last := time.AfterFunc(sinkLast, s.cancel)
	defer last.Stop()
	defer s.cancel()
	why := "there was no more time"
	select {
	case <-s.done:
		if s.file != nil {
			s.file.Close()
		}
	case <-time.After(sinkLast + time.Second): // what reads a pipe has stopped
		why = "they are not read"
	}
	all, held := s.queue.count()
	if left := all - held; left > 0 {
		s.warn("%d reports wait %s for the next start: %s", left, s.where(), why)
	}
	s.lose(held, why)
}

func (s *Sink) warn(format string, a ...any) { s.cfg.Warn(fmt.Sprintf(format, a...)) }

func (s *Sink) count(result, n int) { s.counts[result].Add(int64(n)) }

// where is where reports wait.
func (s *Sink) where() string {
	if s.cfg.Spool == "" {
		return "in memory"
	}
	return "in " + s.cfg.Spool
}

// serve delivers what comes, until it is closed and nothing is left, or there is no more
// time for that.
func (s *Sink) serve() {
	defer close(s.done)
	for tries := 0; s.await(tries); {
		if s.try(tries) {
			tries = 0
		} else {
			tries++
		}
	}
}

// await waits until there is something to be delivered, and after tries that have failed
// as long as is due. It reports whether there is, and time for it.
func (s *Sink) await(tries int) bool {
	wait, again := sinkEvery, tries > 0
	if again {
		wait = min(s.unit<<min(tries-1, 10), sinkMost)
	}
	var due <-chan time.Time
	for {
		some, full, closed := s.queue.first()
		switch {
		case s.ctx.Err() != nil, closed && !some:
			return false
		case !some:
		case !again && (full || closed || !s.gathers()):
			return true
		case due == nil, closed && wait > s.unit:
			wait = min(wait, s.unit)
			due = time.After(wait)
		}
		select {
		case <-due:
			return true
		case <-s.queue.more:
		case <-s.ctx.Done():
		}
	}
}

// gathers reports whether reports are better delivered several at a time.
func (s *Sink) gathers() bool {
	_, posts := s.to.(*poster)
	return posts
}

// try delivers the oldest reports, and says of it what nobody would hear of otherwise.
func (s *Sink) try(before int) bool {
	all, lost, err := s.queue.take()
	if err == nil {
		s.lose(lost, "what is "+s.where()+" cannot be read")
		var left []report
		var refused []refusal
		left, refused, err = s.to.deliver(s.ctx, all)
		s.queue.keep(left)
		s.count(Delivered, len(all)-len(left)-len(refused))
		s.count(Rejected, len(refused))
		s.refuse(refused)
	}
	waiting, _ := s.queue.count()
	switch {
	case err == nil && s.said:
		s.said = false
		s.warn("reports are delivered again; %d wait", waiting)
	case err != nil && !s.said && before+1 >= sinkTries:
		s.said = true
		s.warn("%d reports wait %s: %v", waiting, s.where(), err)
	}
	return err == nil
}

// refuse says that reports are not wanted, once for each kind of reason and a while.
func (s *Sink) refuse(refused []refusal) {
	for _, r := range refused {
		if at, said := s.kinds[r.kind]; said && time.Since(at) < sinkSilence {
			continue
		}
		s.kinds[r.kind] = time.Now()
		s.warn("a report is refused, and what is refused likewise within %v is not said: %s: %s", sinkSilence, r.id, r.why)
	}
}

// writer delivers to a file or to standard output.
type writer struct {
	w    io.Writer
	torn bool // the last line has no end
}

func (w *writer) deliver(_ context.Context, all []report) (left []report, _ []refusal, _ error) {
	for i, r := range all {
		text := append(slices.Clip(r.line), '\n')
		if w.torn {
			text = append([]byte{'\n'}, text...)
		}
		n, err := w.w.Write(text)
		if err != nil {
			w.torn = w.torn || n > 0
			return all[i:], nil, err
		}
		w.torn = false
	}
	return nil, nil, nil
}
