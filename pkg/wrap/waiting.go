package wrap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/stream"
)

// waitingLine shows on a terminal, after a second, who has the turn and which
// place in line is ours. It is redrawn in place and wiped at the end, where the
// terminal takes it: that may be stopped, and a turn waits for no terminal.
type waitingLine struct {
	s *Session
	w *stream.Stream // nil: not a terminal, or quiet

	ctx    context.Context // of what draws it
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	timer *time.Timer
	stop  context.CancelFunc // ends the drawing of last
	text  string             // as drawn last; "": nothing is
	last  hold.Place
	over  bool
}

func (s *Session) waitingLine(ctx context.Context) *waitingLine {
	l := &waitingLine{s: s, stop: func() {}}
	l.ctx, l.cancel = context.WithCancel(ctx)
	if cli.Terminal(s.stdio.Err) && !s.Quiet && !s.Verbose {
		l.w = s.report.people
	}
	return l
}

// show notes the place and draws it, once a second has passed.
func (l *waitingLine) show(p hold.Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = p
	if l.w == nil || l.over {
		return
	}
	l.stopTimer()
	l.stop()
	ctx, stop := context.WithCancel(l.ctx)
	l.stop = stop
	l.wg.Add(1)
	l.timer = time.AfterFunc(max(0, time.Second-time.Since(l.s.began)), func() {
		defer l.wg.Done()
		l.draw(ctx, p)
	})
}

// stopTimer takes a drawing back that has not begun.
func (l *waitingLine) stopTimer() {
	if l.timer != nil && l.timer.Stop() {
		l.wg.Done()
	}
}

// askEvery is how often a line that is drawn is brought up to date.
const askEvery = 5 * time.Second

// draw draws a place while it is ours: at once what is known of it, then what etcd
// says, and how long it has said nothing.
func (l *waitingLine) draw(ctx context.Context, p hold.Place) {
	what, inLine := l.known(p)
	l.print(p, what)
	for heard := time.Now(); ctx.Err() == nil; {
		patience := max(askEvery, etcd.SilentAfter-time.Since(heard))
		asking, cancel := context.WithTimeout(ctx, patience)
		line, err := hold.List(asking, l.s.Client, l.s.Line)
		cancel()
		if !errors.As(err, new(*etcd.Unreachable)) {
			heard = time.Now()
			if inLine && len(line.Candidates) > 0 {
				what = fmt.Sprintf("%s in line, held by %s", ordinal(rank(line, p.Joined.Rev)), line.Candidates[0])
			}
			l.print(p, what)
		} else if silent := time.Since(heard); silent >= etcd.SilentAfter {
			l.print(p, fmt.Sprintf("etcd has not answered for %v; before that: %s", silent.Round(time.Second), what))
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
		}
	}
}

// known is what is known of a place without asking, and whether it is one in line.
func (l *waitingLine) known(p hold.Place) (what string, inLine bool) {
	if p.Ahead.Key == "" {
		return fmt.Sprintf("the last holder did not release; %v of --lock-delay left", p.Delay.Round(100*time.Millisecond)), false
	}
	if host, ok := l.s.Space.Pool(l.s.Line.Name).HostOf(p.Joined.Key); ok { // see --spread
		return fmt.Sprintf("for the turn of %s, behind %s", host, p.Ahead), false
	}
	return fmt.Sprintf("behind %s", p.Ahead), true
}

// print replaces the line, unless p is not our place any more. Without the
// terminal's wrapping a line that is too long for it is cut, and can be wiped.
func (l *waitingLine) print(p hold.Place, what string) {
	l.w.Settle()
	l.mu.Lock()
	defer l.mu.Unlock()
	text := cli.OneLine(fmt.Sprintf("%s: waiting for %s: %s", l.s.tool, l.s.Line.Name, what))
	if l.over || p != l.last || text == l.text {
		return
	}
	if l.w.Try([]byte("\x1b[?7l\r\x1b[K" + text + "\x1b[?7h")) {
		l.text = text
	}
}

// rank is the place of the candidate with that revision among those who wait: 1
// is the next to have a turn.
func rank(l hold.Line, rev int64) int {
	n := 1
	for _, c := range l.Candidates {
		if c.Rev < rev && c.State == hold.Waiting {
			n++
		}
	}
	return n
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

// why says who was in the way, for the error that ends the wait.
func (l *waitingLine) why() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.Ahead.Key == "" {
		return ""
	}
	return ": behind " + l.last.Ahead.String()
}

// clear wipes the line, for good.
func (l *waitingLine) clear() {
	l.mu.Lock()
	l.over = true
	l.stopTimer()
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	if l.text != "" && l.w.Settle() {
		l.w.Try([]byte("\r\x1b[K"))
		l.w.Settle() // before the command has the terminal
	}
}
