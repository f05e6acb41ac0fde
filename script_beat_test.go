package conch_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// beatMain is the program beat: until it is killed it appends a line
//
//	beat TOKEN NANOSECONDS PID
//
// to LOG every few milliseconds, with the token from CONCH_REV and the time
// from CLOCK_BOOTTIME, which all processes share. TERM ends it, unless it is
// to ignore that. With -daemon it first leaves behind another that has left
// its session and its parent, and ignores TERM.
func beatMain() {
	length := flag.Duration("for", time.Hour, "end after this")
	ignore := flag.Bool("ignore", false, "ignore TERM")
	daemon := flag.Bool("daemon", false, "leave a daemon behind, too")
	orphan := flag.Bool("orphan", false, "start another in a new session and exit")
	flag.Parse()
	log, err := os.OpenFile(flag.Arg(0), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		fmt.Fprintln(os.Stderr, "beat:", err)
		os.Exit(1)
	}
	term := make(chan os.Signal, 1)
	if *ignore { // before anybody writes to LOG: that is what scripts wait for
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(term, syscall.SIGTERM)
	}
	switch {
	case *orphan:
		leave(false, "-ignore", flag.Arg(0))
		return
	case *daemon:
		leave(true, "-orphan", flag.Arg(0))
	}
	end := time.After(*length)
	for tick := time.NewTicker(3 * time.Millisecond); ; {
		fmt.Fprintf(log, "beat %s %d %d\n", os.Getenv("CONCH_REV"), boottime(), os.Getpid())
		select {
		case <-tick.C:
		case <-end:
			return
		case <-term:
			os.Exit(128 + int(syscall.SIGTERM))
		}
	}
}

// leave starts another beat in a session of its own.
func leave(wait bool, args ...string) {
	cmd := exec.Command("/proc/self/exe", args...)
	if _, err := os.Stat(cmd.Path); err != nil { // pid1.txtar: a root without /proc, and without /dev/null
		cmd.Path = "/beat"
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	cmd.Args[0] = "beat"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Start()
	if err == nil && wait {
		err = cmd.Wait()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "beat:", err)
		os.Exit(1)
	}
}

func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// span is from the first to the last sign of life under one token.
type span struct{ token, from, to int64 }

// spans reads a log of beats, and sorts by the beginning.
func spans(log string) ([]span, error) {
	byToken := map[int64]*span{}
	for lines := bufio.NewScanner(strings.NewReader(log)); lines.Scan(); {
		var word string
		var token, at, pid int64
		if _, err := fmt.Sscan(lines.Text(), &word, &token, &at, &pid); err != nil {
			return nil, fmt.Errorf("bad line %q: %w", lines.Text(), err)
		}
		s := byToken[token]
		if s == nil {
			s = &span{token, at, at}
			byToken[token] = s
		}
		s.from, s.to = min(s.from, at), max(s.to, at)
	}
	var all []span
	for _, s := range byToken {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b span) int { return int(a.from - b.from) })
	return all, nil
}

// checkSpans reports spans of which more than max share an instant and, where only
// one may be, tokens that do not rise: of two that start together the one that was
// admitted first may be the later to say so.
func checkSpans(all []span, max int) error {
	for i, s := range all {
		if max == 1 && i > 0 && s.token <= all[i-1].token {
			return fmt.Errorf("token %d came after %d", s.token, all[i-1].token)
		}
		var others []string
		for _, o := range all[:i] {
			if o.to >= s.from {
				others = append(others, fmt.Sprintf("%d (for %v more)", o.token, time.Duration(o.to-s.from)))
			}
		}
		if len(others) >= max {
			return fmt.Errorf("when %d began there were still at work: %s", s.token, strings.Join(others, ", "))
		}
	}
	return nil
}

func (s *script) overlap(args []string) error {
	limit := 1
	if len(args) == 3 && args[0] == "-max" {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		limit, args = n, args[2:]
	}
	if len(args) != 1 {
		return errors.New("usage: overlap [-max N] LOG")
	}
	all, err := spans(s.ts.ReadFile(args[0]))
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("nothing was at work")
	}
	if err := checkSpans(all, limit); err != nil {
		return err
	}
	return s.print(len(all))
}
