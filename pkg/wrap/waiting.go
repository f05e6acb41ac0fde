package wrap

import (
	"context"
	"fmt"
	"sync"
	"time"

	"conch/pkg/cli"
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
	drawn bool
	last  hold.Place
	over  bool
}

func (s *Session) waitingLine(ctx context.Context) *waitingLine {
	l := &waitingLine{s: s}
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
	l.wg.Add(1)
	l.timer = time.AfterFunc(max(0, time.Second-time.Since(l.s.began)), func() {
		defer l.wg.Done()
		l.draw(p)
	})
}

// stopTimer takes a drawing back that has not begun.
func (l *waitingLine) stopTimer() {
	if l.timer != nil && l.timer.Stop() {
		l.wg.Done()
	}
}

// draw draws a place: at once what is known of it, and then what etcd says.
func (l *waitingLine) draw(p hold.Place) {
	if p.Ahead.Key == "" {
		l.print(p, "the last holder did not release; %v of --lock-delay left", p.Delay.Round(100*time.Millisecond))
		return
	}
	if host, ok := l.s.Space.Pool(l.s.Line.Name).HostOf(p.Joined.Key); ok { // not in line yet: see --spread
		l.print(p, "for the turn of %s, behind %s", host, p.Ahead)
		return
	}
	l.print(p, "behind %s", p.Ahead)
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Second) // the line is a comfort, not worth more
	defer cancel()
	if line, err := hold.List(ctx, l.s.Client, l.s.Line); err == nil && len(line.Candidates) > 0 {
		l.print(p, "%s in line, held by %s", ordinal(rank(line, p.Joined.Rev)), line.Candidates[0])
	}
}

// print replaces the line, unless p is not our place any more.
func (l *waitingLine) print(p hold.Place, format string, args ...any) {
	l.w.Settle()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || p != l.last {
		return
	}
	text := fmt.Sprintf("%s: waiting for %s: %s", l.s.tool, l.s.Line.Name, fmt.Sprintf(format, args...))
	l.drawn = l.w.Try([]byte("\r\x1b[K"+cli.OneLine(text))) || l.drawn
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
	if l.drawn {
		l.w.Settle()
		l.w.Try([]byte("\r\x1b[K"))
		l.w.Settle() // before the command has the terminal
	}
}
