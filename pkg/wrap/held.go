package wrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/proc"
)

// HeldFlag declares --held.
func HeldFlag(f *cli.Flags, p *bool) {
	f.Bool(p, cli.Row{Name: "held", Env: cli.NoEnv, Help: "status 0 if this process runs under NAME, and dies with it; 1 if not. For a guard at the top of a script"})
}

// Held answers --held: nil, or cli.No. The environment says which hold is meant,
// etcd whether it lasts, and the process table whether it is this process that
// dies with it; what was started from elsewhere with such an environment, by at or
// over ssh, does not. What cannot be proven is not held. Where nothing says which
// etcd and --if-configured asks for no hold, everything is.
func (o *Options) Held(ctx context.Context, stdio *cli.Stdio, line keys.Line) error {
	if o.Plain && !o.Configured() {
		return nil
	}
	mine := enclosing(stdio, line)
	if len(mine) == 0 {
		return cli.No // without asking: a script begins with this
	}
	return o.Ask(ctx, func(ctx context.Context, c *etcd.Client) error {
		ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
		defer cancel()
		var stray error
		for _, t := range mine {
			h, err := hold.HolderOf(ctx, c, t)
			switch {
			case errors.Is(err, hold.ErrFenced):
				continue
			case err != nil:
				return err
			}
			if stray = ours(h); stray == nil {
				return nil
			}
		}
		if stray == nil || o.Quiet {
			return cli.No
		}
		return cli.Errorf(cli.Failed, "%s: %w", line.Name, stray)
	})
}

// enclosing returns the tokens of the holds in a line that this process runs under,
// as far as its environment says.
func enclosing(stdio *cli.Stdio, line keys.Line) (mine []fence.Token) {
	for _, t := range fence.Enclosing(stdio.Lookup) {
		if strings.HasPrefix(t.Key, line.Dir) {
			mine = append(mine, t)
		}
	}
	return mine
}

// endless refuses to wait without --wait for a hold that this process runs under, for
// that lasts until this process has ended. It is asked before the first turn only: nobody runs
// under another one of the line later.
func (s *Session) endless(ctx context.Context) error {
	if s.NonBlock || s.Wait >= 0 { // which is told who has it
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.DialTimeout)
	defer cancel()
	var mine []hold.Candidate
	room := s.Room
	for _, t := range enclosing(s.stdio, s.Line) {
		h, err := hold.HolderOf(ctx, s.Client, t)
		switch {
		case errors.Is(err, hold.ErrFenced):
		case err != nil:
			return err
		case ours(h) == nil: // others do not wait for us
			mine = append(mine, h)
			room -= max(1, h.Weight)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	alone := false
	if s.Alone.Dir != "" {
		l, err := hold.List(ctx, s.Client, s.Alone)
		if err != nil {
			return err
		}
		has, ok := l.Holder()
		alone = ok && slices.ContainsFunc(mine, func(h hold.Candidate) bool { return h.Host == has.Host && h.PID == has.PID })
	}
	if room >= 0 && !alone {
		return nil
	}
	err := cli.Errorf(cli.Config, "%s: would wait for ever: it runs under the hold that it waits for, of %s", s.Line.Name, mine[0])
	return cli.Hint(err, "%s %s --held says whether it is held already", s.tool, s.Line.Name)
}

// ours says why this process does not die with the hold of h, or nil.
func ours(h hold.Candidate) error {
	host, err := os.Hostname()
	switch {
	case err != nil:
		return err
	case h.Host != host:
		return fmt.Errorf("the environment is that of a hold on another host, %s", h.Host)
	case !proc.Descends(h.PID):
		return fmt.Errorf("the environment is that of the hold of %s, which this process does not descend from", h)
	}
	return nil
}
