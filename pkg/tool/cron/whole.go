package cron

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"conch/pkg/cli"
	"conch/pkg/cron"
)

// printWhole prints all that a run has written, as far as it goes on what it has by now,
// or says where that is.
func printWhole(ctx context.Context, stdio *cli.Stdio, s cron.Store, r *cron.Run) error {
	if r.Log == "" {
		return notKept(ctx, s, r)
	}
	f, err := os.Open(r.LogFile())
	switch {
	case err == nil:
		defer f.Close()
		_, err = io.Copy(stdio.Out, f)
		return err
	case r.State.Final() && r.State != cron.Lost && r.Bytes == 0:
		return nil // it has written nothing
	case errors.Is(err, fs.ErrPermission) && here(r.Host):
		return cli.Hint(cli.Errorf(cli.Failed, "%s: %w", r.RunID, err), "only the user may read it whom the runner runs as")
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission): // such a directory may be there on any host
		return cli.Errorf(cli.Failed, "%s: %w", r.RunID, err)
	case here(r.Host):
		return cli.Hint(cli.Errorf(cli.Failed, "%s: %w", r.RunID, err), "it has written nothing yet, or all of it was removed: conch-cronrunner keeps it for --log-age, within --log-size, and of each job for about as many runs as its --keep")
	}
	return cli.Hint(cli.Errorf(cli.Failed, "%s ran on %s: all of its output is there, in %s", r.RunID, r.Host, r.LogFile()),
		"there, as the user whom the runner runs as: %s logs %s --whole", name, quote(r.String()))
}

// here reports whether that is what this host is called.
func here(host string) bool {
	name, err := os.Hostname()
	return err == nil && name == host
}

// notKept says why the whole output of a run is nowhere.
func notKept(ctx context.Context, s cron.Store, r *cron.Run) error {
	j, err := s.Job(ctx, r.Job)
	switch {
	case err != nil && !errors.Is(err, cron.ErrNoJob):
		return err
	case err == nil && j.Outputs() == cron.OutputNone:
		return cli.Hint(cli.Errorf(cli.Failed, "%s: nothing is kept of its output: the job has output = none", r.RunID), "--output failure or --output always, with add")
	}
	return cli.Hint(cli.Errorf(cli.Failed, "%s: its runner on %s keeps no whole output", r.RunID, r.Host), "--log-dir of conch-cronrunner; %s logs without --whole prints the end of it", name)
}
