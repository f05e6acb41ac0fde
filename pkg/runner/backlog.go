package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// The bounds of a backlog, beyond which the oldest goes.
const (
	backlogRecords = 10000    // in memory
	backlogBytes   = 64 << 20 // in files
	batchRecords   = 500      // that go in one request
	batchBytes     = 1 << 20  // from where on no more goes into it
)

// report is a record on its way: id is its own, and stays the same however often it is
// sent.
type report struct {
	id   string
	line []byte // of JSON, without its end
}

// backlog are the reports that have not been delivered, the oldest first: in files of
// a directory, where a killed runner leaves them to the next one, or in memory.
type backlog struct {
	dir string // "": in memory

	mu      sync.Mutex
	batches []*batch
	sending *batch // the first, if it is being delivered
	seq     int
	records int // of all batches
	held    int // of them in memory
	bytes   int // of the others
	closed  bool
	more    chan struct{} // something has been added, or it is closed
}

// batch are reports that are delivered together.
type batch struct {
	path    string   // its file; "": in memory
	reports []report // without a file
	n       int
	bytes   int
	full    bool // nothing more goes into it
}

const (
	reportStem = "reports-"
	reportTail = ".txt"
)

// openBacklog finds what an earlier runner has left in dir.
func openBacklog(dir string) (*backlog, error) {
	b := &backlog{dir: dir, more: make(chan struct{}, 1)}
	if dir == "" {
		return b, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir) // by name, so by age
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		var seq int
		if n, _ := fmt.Sscanf(f.Name(), reportStem+"%d"+reportTail, &seq); n != 1 || f.Name() != reportName(seq) {
			continue
		}
		left := &batch{path: filepath.Join(dir, f.Name()), full: true}
		text, err := os.ReadFile(left.path)
		if err != nil {
			return nil, err
		}
		left.n, left.bytes = bytes.Count(text, []byte("\n")), len(text)
		b.batches, b.seq = append(b.batches, left), seq
		b.records, b.bytes = b.records+left.n, b.bytes+left.bytes
	}
	return b, nil
}

func reportName(seq int) string { return fmt.Sprintf(reportStem+"%012d"+reportTail, seq) }

// add adds a report behind all others. lost is how many had to go for it.
func (b *backlog) add(r report) (lost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Appendf(nil, "%s %s\n", r.id, r.line)
	last := b.last()
	if last == nil {
		last = b.begin(b.dir)
	}
	if last.path != "" && appendTo(last.path, text) != nil { // the disk is full, say
		last.full = true
		if last.n == 0 {
			b.drop(len(b.batches) - 1)
		}
		last = b.begin("")
	}
	if last.path == "" {
		last.reports = append(last.reports, r)
		b.held++
	} else {
		b.bytes += len(text)
	}
	last.n, last.bytes = last.n+1, last.bytes+len(text)
	last.full = last.n >= batchRecords || last.bytes >= batchBytes
	b.records++
	b.poke()
	return b.bound()
}

// last is the batch to add to; nil: there is none.
func (b *backlog) last() *batch {
	if len(b.batches) == 0 || b.batches[len(b.batches)-1].full {
		return nil
	}
	return b.batches[len(b.batches)-1]
}

// begin begins a batch: in a file, if there is a directory.
func (b *backlog) begin(dir string) *batch {
	t := &batch{}
	if dir != "" {
		b.seq++
		t.path = filepath.Join(dir, reportName(b.seq))
	}
	b.batches = append(b.batches, t)
	return t
}

// appendTo appends text to a file, all or nothing.
func appendTo(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.Write(text)
	if err != nil && n > 0 {
		if info, serr := f.Stat(); serr == nil {
			_ = f.Truncate(info.Size() - int64(n)) // else what is torn is left out when it is read
		}
	}
	return err
}

// bound lets the oldest batches go that there is no room for.
func (b *backlog) bound() (lost int) {
	for b.bytes > backlogBytes || b.held > backlogRecords {
		oldest := 0
		if b.batches[0] == b.sending {
			oldest = 1
		}
		if oldest == len(b.batches)-1 {
			break
		}
		lost += b.batches[oldest].n
		b.drop(oldest)
	}
	return lost
}

// drop forgets a batch.
func (b *backlog) drop(i int) {
	t := b.batches[i]
	b.records -= t.n
	if t.path == "" {
		b.held -= t.n
	} else {
		b.bytes -= t.bytes
		os.Remove(t.path)
	}
	b.batches = slices.Delete(b.batches, i, i+1)
}

func (b *backlog) poke() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// close says that nothing more will be added.
func (b *backlog) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.poke()
}

// first is how the oldest batch is: whether there is one, whether nothing more goes into
// it, and whether nothing more comes.
func (b *backlog) first() (any, full, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	any = len(b.batches) > 0
	return any, any && b.batches[0].full, b.closed
}

// take returns what is in the oldest batch, which is being delivered from then on, unless
// its file cannot be read now. lost is how many there are not in it any more.
func (b *backlog) take() (all []report, lost int, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.batches[0]
	if t.path == "" {
		t.full, b.sending = true, t
		return t.reports, 0, nil
	}
	text, err := os.ReadFile(t.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	t.full, b.sending = true, t
	for line := range bytes.Lines(text) {
		id, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		if json.Valid(rest) { // the last one may be torn: the host had lost its power
			all = append(all, report{string(id), rest})
		}
	}
	lost = max(t.n-len(all), 0)
	b.records += len(all) - t.n
	t.n = len(all)
	return all, lost, nil
}

// keep ends the delivery of the oldest batch, of which these are left.
func (b *backlog) keep(left []report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.sending
	b.sending = nil
	switch done := t.n - len(left); {
	case len(left) == 0:
		b.drop(0)
	case done == 0:
	case t.path == "":
		b.held, b.records = b.held-done, b.records-done
		t.reports, t.n = left, len(left)
	default:
		b.rewrite(t, left)
	}
}

// rewrite leaves in a batch's file only these.
func (b *backlog) rewrite(t *batch, left []report) {
	var text []byte
	for _, r := range left {
		text = fmt.Appendf(text, "%s %s\n", r.id, r.line)
	}
	if writeFile(t.path, text) != nil {
		return // what has been delivered is delivered again
	}
	b.records, b.bytes = b.records-(t.n-len(left)), b.bytes-(t.bytes-len(text))
	t.n, t.bytes = len(left), len(text)
}

// count is how many reports wait, and how many of them end with this process.
func (b *backlog) count() (all, held int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records, b.held
}
