package runner

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cron"
)

const (
	// maxLine is where a line of output without an end is cut.
	maxLine = 8 << 10
	// lastWords is how long output may take to arrive once its writers are dead.
	lastWords = time.Second
)

// output is the pipe that a command writes to: its lines are passed on, each
// with the run's name, and the last of it is kept.
type output struct {
	r, w  *os.File
	in    *os.File
	line  func([]byte)
	log   *log // nil: it is not kept
	done  chan struct{}
	beats sync.WaitGroup

	mu   sync.Mutex
	tail []byte
	all  int64 // bytes that there were
}

// newOutput makes the pipe; stdin is what the command reads, and log, if that is not
// nil, gets all that it writes.
func newOutput(stdin string, line func([]byte), log *log) (*output, error) {
	in, err := input(stdin)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	blocking(w)
	o := &output{r: r, w: w, in: in, line: line, log: log, done: make(chan struct{})}
	go o.read()
	return o, nil
}

// blocking undoes what os.Pipe does to an end that is for a command: few of them
// know what to do with EAGAIN.
func blocking(f *os.File) { _ = unix.SetNonblock(int(f.Fd()), false) }

// input is a file to read text from: /dev/null, or one without a name.
func input(text string) (*os.File, error) {
	if text == "" {
		return os.Open(os.DevNull)
	}
	f, err := os.CreateTemp("", "conch-stdin-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err = f.WriteString(text); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// stdio is what the command is given.
func (o *output) stdio() [3]*os.File { return [3]*os.File{o.in, o.w, o.w} }

// started lets go of what is the command's alone now.
func (o *output) started() {
	o.w.Close()
	o.in.Close()
}

// close returns when all has been read. It is called when the command and all
// that it has started are dead, or was not started at all.
func (o *output) close(unstarted bool) {
	if unstarted {
		o.started()
	}
	select {
	case <-o.done:
	case <-time.After(lastWords): // somebody who could not be killed holds the pipe
	}
	o.r.Close()
	<-o.done
	o.beats.Wait()
}

// kept is the end of the output, and how much of it there was.
func (o *output) kept() (tail string, all int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(bytes.ToValidUTF8(o.tail, []byte("\uFFFD"))), o.all
}

func (o *output) read() {
	defer close(o.done)
	buf := make([]byte, maxLine)
	n := 0
	for {
		m, err := o.r.Read(buf[n:])
		o.keep(buf[n : n+m])
		o.log.write(buf[n : n+m])
		n = o.pass(buf[:n+m])
		if err != nil {
			if n > 0 {
				o.line(buf[:n])
			}
			return
		}
	}
}

// pass passes on the whole lines in b, and moves what is left to its beginning.
func (o *output) pass(b []byte) (left int) {
	rest := b
	for {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		if !found {
			break
		}
		o.line(line)
		rest = after
	}
	if len(rest) == maxLine {
		o.line(rest)
		return 0
	}
	return copy(b, rest)
}

func (o *output) keep(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, b...)
	o.all += int64(len(b))
	if over := len(o.tail) - cron.MaxTail; over > 0 {
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
}
