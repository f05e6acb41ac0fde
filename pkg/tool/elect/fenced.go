package elect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

// maxPut is what etcd takes in one request by default, less room for the rest
// of it.
const maxPut = 1500 << 10

// proof finds the token to write under: that of --token, or the one that the
// environment has from an enclosing conch-elect of the same NAME.
func (o *options) proof(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) (fence.Token, error) {
	if o.token > 0 {
		l, err := o.list(ctx, c, office)
		if err != nil {
			return fence.Token{}, err
		}
		for _, candidate := range l.Candidates {
			if uint64(candidate.Rev) == o.token && candidate.State != hold.Waiting {
				return l.Token(candidate), nil
			}
		}
		return fence.Token{}, fmt.Errorf("%w: no hold has the token %d", hold.ErrFenced, o.token)
	}
	t, err := fence.FromEnv(stdio.Lookup)
	if err != nil {
		return t, cli.Usagef("no token: %v; run this under %s %s, or give --token", err, name, office.Name)
	}
	run := o.Space.Cron().ActsOf(office.Name, "") // of a job, whose token is as good
	if !strings.HasPrefix(t.Key, office.Dir) && !strings.HasPrefix(t.Key, run) {
		return t, cli.Usagef("the token in the environment is for %s, not for %s", t.Key, office.Name)
	}
	return t, nil
}

// fencedOff gives a refused write its status.
func fencedOff(office keys.Line, err error) error {
	if errors.Is(err, hold.ErrFenced) {
		return cli.Errorf(cli.Failed, "%s: nothing was written: %w", office.Name, err)
	}
	return err
}

func (o *options) putFenced(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	t, err := o.proof(ctx, stdio, c, office)
	if err != nil {
		return fencedOff(office, err)
	}
	value, err := io.ReadAll(io.LimitReader(stdio.In, maxPut+1))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	if len(value) > maxPut {
		return cli.Usagef("standard input is longer than the %d KiB that etcd takes", maxPut>>10)
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	return fencedOff(office, hold.Put(ctx, c, t, o.fencedPut, string(value)))
}

// writeFenced replaces a file. The newest token that has written it is kept
// beside it, in .NAME.conch, under whose lock tokens are compared and the file
// is renamed: a holder of before cannot undo what a later one wrote, though its
// last look at etcd was in time.
func (o *options) writeFenced(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) (err error) {
	t, err := o.proof(ctx, stdio, c, office)
	if err != nil {
		return fencedOff(office, err)
	}
	tmp, err := spool(o.fencedFile, stdio.In)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // fails once it has been renamed
	record, err := lockRecord(o.fencedFile)
	if err != nil {
		return err
	}
	defer record.Close()
	if err := newest(record, t); err != nil {
		return fencedOff(office, err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	if err := hold.Holds(ctx, c, t); err != nil {
		return fencedOff(office, err)
	}
	// The token first: a crash in between refuses an older holder all the same.
	if err := keep(record, t); err != nil {
		return err
	}
	if err := os.Rename(tmp, o.fencedFile); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.fencedFile))
}

// syncDir makes a rename in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// spool writes r to a file beside path, with the permissions of the file that
// it is to replace.
func spool(path string, r io.Reader) (tmp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	mode := os.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	if _, err := io.Copy(f, r); err != nil {
		return "", err
	}
	if err := f.Chmod(mode); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

// lockRecord opens and locks the record of the newest token.
func lockRecord(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".conch"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// newest refuses t if a newer token has written, or one of another cluster,
// with which it cannot be compared.
func newest(record *os.File, t fence.Token) error {
	b, err := io.ReadAll(io.LimitReader(record, 4096))
	if err != nil || len(b) == 0 {
		return err
	}
	cluster, rev, ok := strings.Cut(strings.TrimSpace(string(b)), " ")
	n, perr := strconv.ParseInt(rev, 10, 64)
	switch {
	case !ok || perr != nil:
		return fmt.Errorf("%s is not a record of a token", record.Name())
	case strings.TrimLeft(cluster, "0") != strconv.FormatUint(t.Cluster, 16):
		return cli.Hint(fmt.Errorf("%s was written under a token of another etcd cluster (%s)", record.Name(), cluster), "remove it if that cluster is gone")
	case n > t.Rev:
		return fmt.Errorf("%w: token %d has written since, yours is %d", hold.ErrFenced, n, t.Rev)
	}
	return nil
}

// keep records t. The record has one width, so that it can be written over in
// one step: a crash leaves the old one or the new one.
func keep(record *os.File, t fence.Token) error {
	if _, err := record.WriteAt(fmt.Appendf(nil, "%016x %020d\n", t.Cluster, t.Rev), 0); err != nil {
		return err
	}
	return record.Sync()
}
