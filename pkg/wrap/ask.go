package wrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/hold"
)

// AskFlag declares --ask.
func (o *Options) AskFlag(f *cli.Flags) {
	f.Bool(&o.Asks, cli.Row{Name: "ask", Env: cli.NoEnv, Help: "with --evict: ask for the hold in the place of taking it. The command there is stopped as by a TERM to its conch, has its --kill-after, and the hold is released; this waits for that, --wait at most"})
}

// Ask puts a question to etcd. With --ask all of it has to be done within --wait.
func (o *Options) Ask(ctx context.Context, question func(context.Context, *etcd.Client) error) error {
	if o.Asks && o.Wait > 0 && !o.NonBlock {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, o.began.Add(o.Wait))
		defer cancel()
	}
	return o.Settings.Ask(ctx, question)
}

// AwaitGone waits until those who were asked have gone, and says so of each.
func (o *Options) AwaitGone(ctx context.Context, out io.Writer, name string, asked []hold.Candidate, wait func(context.Context, hold.Candidate) error) error {
	if o.NonBlock || o.Wait == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, o.began)
		defer cancel()
	}
	for _, who := range asked {
		var err error
		if who.State != hold.Lingering { // that has been ended
			err = wait(ctx, who)
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			within := "yet"
			if !o.NonBlock && o.Wait != 0 {
				within = fmt.Sprint("within ", time.Since(o.began).Round(100*time.Millisecond))
			}
			return o.conflict("%s: %s was asked, and has not gone %s: it may still, unless its conch is older than --ask", name, who, within)
		case err != nil:
			return err
		}
		if _, err := fmt.Fprintf(out, "%s: %s has gone\n", name, cli.OneLine(who.String())); err != nil {
			return err
		}
	}
	return nil
}

// Deaf explains that what holds is none of conch's.
func Deaf(name string, err error) error {
	return cli.Hint(cli.Errorf(cli.Failed, "%s: the holder %w", name, err), "--evict without --ask takes the hold away")
}
