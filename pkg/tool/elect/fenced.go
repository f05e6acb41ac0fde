package elect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
	"conch/pkg/stream"
	"conch/pkg/wrap"
)

// maxPut is what etcd takes in one request by default, less room for the rest
// of it.
const maxPut = 1500 << 10

// fenced reports whether something is to be written under a token.
func (o *options) fenced() bool { return o.given("fenced-put") || o.given("fenced-file") }

// checkFenced refuses what cannot be written, or not in this way.
func (o *options) checkFenced(argv []string) error {
	switch {
	case o.given("fenced-put") && o.fencedPut == "":
		return cli.Usagef("--fenced-put needs a KEY")
	case o.given("fenced-file") && o.fencedFile == "":
		return cli.Usagef("--fenced-file needs a PATH")
	case len(argv) > 0 && o.Restart:
		return cli.Usagef("--restart never ends, and what a command has written takes effect at its end; use one of them")
	case len(argv) > 0 && o.Plain:
		return cli.Usagef("--if-configured may run the command without a hold, under which nothing can be fenced; use one of them")
	}
	if !o.given("fenced-file") {
		return nil
	}
	s, err := o.openFile(nil) // what is wrong with it is said before anything is asked of etcd
	if err == nil {
		s.Close()
	}
	return err
}

// runFenced runs a command whose output is to be written: under the token that is
// given, or under a turn of its own.
func (o *options) runFenced(ctx context.Context, stdio *cli.Stdio, office keys.Line, argv []string) error {
	o.Output = func() (wrap.Sink, error) { return o.sink(office) }
	if _, err := o.envToken(stdio, office); err != nil && o.token == 0 {
		return o.wrap(ctx, stdio, office, argv)
	}
	if o.Once != "" {
		return cli.Usagef("--once records with a turn of its own, and there is one already: put it there")
	}
	defer proc.BuryStrays()()
	s, err := wrap.Open(ctx, o.Options, name, "elect", office, argv, stdio)
	if err != nil {
		return err
	}
	t, err := o.proof(ctx, stdio, s.Client, office)
	if err == nil {
		err = o.holds(ctx, s.Client, office, t)
	}
	if err == nil {
		err = s.Borrow(ctx, t)
	}
	return s.Close(o.Explain(err))
}

// copyFenced writes standard input, whose end says that it is whole.
func (o *options) copyFenced(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	t, err := o.proof(ctx, stdio, c, office)
	if err != nil {
		return err
	}
	signals, err := hear.Listen(hear.All())
	if err != nil {
		return err
	}
	s, err := o.sink(office)
	if err != nil {
		return err
	}
	defer s.Close()
	copied := make(chan error, 1)
	go func() { // ends with its input, or the process
		defer stream.Quiet()() // that a file has its limit is an error, and no signal
		_, err := io.Copy(s, stdio.In)
		copied <- err
	}()
	for reading := true; reading; {
		select {
		case err = <-copied:
			reading = false
		case sig := <-signals.C:
			if guard.Undergo(sig) {
				return cli.Signaled{Signal: sig.Sig}
			}
		}
	}
	if err != nil {
		return cli.Errorf(cli.Failed, "%s: nothing was written: %w", office.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	defer stream.Quiet()()
	return s.Keep(ctx, c, t)
}

// envToken is the token that the environment has of an enclosing conch-elect of the
// same NAME, or of a run of a job of that name, whose token is as good.
func (o *options) envToken(stdio *cli.Stdio, office keys.Line) (fence.Token, error) {
	run := o.Space.Cron().ActsOf(office.Name, "")
	for _, t := range fence.Enclosing(stdio.Lookup) {
		if strings.HasPrefix(t.Key, office.Dir) || strings.HasPrefix(t.Key, run) {
			return t, nil
		}
	}
	t, err := fence.FromEnv(stdio.Lookup)
	if err != nil {
		return t, cli.Usagef("no token: %v; run this under %s %s, give --token, or give the command that prints what is to be written", err, name, office.Name)
	}
	return t, cli.Usagef("the token in the environment is for %s, not for %s", t.Key, office.Name)
}

// proof finds the token to write under: that of --token, or the environment's.
func (o *options) proof(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) (fence.Token, error) {
	if o.token == 0 {
		return o.envToken(stdio, office)
	}
	l, err := o.list(ctx, c, office)
	if err != nil {
		return fence.Token{}, err
	}
	for _, candidate := range l.Candidates {
		if uint64(candidate.Rev) == o.token && candidate.State != hold.Waiting {
			return l.Token(candidate), nil
		}
	}
	return fence.Token{}, fencedOff(office, fmt.Errorf("%w: no hold has the token %d", hold.ErrFenced, o.token))
}

// holds asks whether the hold that t proves exists.
func (o *options) holds(ctx context.Context, c *etcd.Client, office keys.Line, t fence.Token) error {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	return fencedOff(office, hold.Holds(ctx, c, t))
}

// fencedOff gives what was not written its status, and says what can be done.
func fencedOff(office keys.Line, err error) error {
	var unfit *fence.Unfit
	var other *fence.OtherCluster
	switch {
	case errors.Is(err, hold.ErrFenced):
		return cli.Errorf(cli.Failed, "%s: nothing was written: %w", office.Name, err)
	case errors.As(err, &unfit):
		return cli.Errorf(cli.Config, "--fenced-file: %w", err)
	case errors.As(err, &other):
		return cli.Hint(cli.Errorf(cli.Failed, "%s: nothing was written: %w", office.Name, err), "remove %s if that cluster is gone", other.Record)
	}
	return err
}

// sink opens what takes the output.
func (o *options) sink(office keys.Line) (wrap.Sink, error) {
	if o.given("fenced-put") {
		return &keySink{office: office, key: o.fencedPut}, nil
	}
	return o.openFile(&office)
}

// openFile opens the file to replace.
func (o *options) openFile(office *keys.Line) (wrap.Sink, error) {
	f, err := fence.OpenFile(o.fencedFile)
	if err != nil {
		return nil, fencedOff(keys.Line{}, err)
	}
	return &fileSink{f, office}, nil
}

// fileSink replaces a file.
type fileSink struct {
	*fence.File
	office *keys.Line
}

func (s *fileSink) Keep(ctx context.Context, c *etcd.Client, t fence.Token) error {
	return fencedOff(*s.office, s.Replace(ctx, t, func(ctx context.Context) error { return hold.Holds(ctx, c, t) }))
}

// keySink puts a key of etcd.
type keySink struct {
	office keys.Line
	key    string
	value  bytes.Buffer
}

func (s *keySink) Write(p []byte) (int, error) {
	if s.value.Len()+len(p) > maxPut {
		return 0, fmt.Errorf("it is longer than the %d KiB that etcd takes", maxPut>>10)
	}
	return s.value.Write(p)
}

func (s *keySink) Keep(ctx context.Context, c *etcd.Client, t fence.Token) error {
	return fencedOff(s.office, hold.Put(ctx, c, t, s.key, s.value.String()))
}

func (s *keySink) Close() {}
