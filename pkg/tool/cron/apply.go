package cron

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/jobfile"
)

var applyTool = cli.Tool{
	Name:  "apply",
	Brief: "make the jobs what files say: JSON, YAML or crontabs",
	Usage: []string{"-f FILE|DIR|- [--dry-run] [--prune [--prefix-of GLOB]]"},
	Examples: []cli.Example{
		{Text: "What would change?", Command: "conch-cron apply -f jobs/ --prune --dry-run"},
		{Text: "The jobs of one team, of which none but these are to be left", Command: "conch-cron apply -f web.yaml --prune --prefix-of 'web-*'"},
		{Text: "Bring a crontab along, and say what will be different", Command: "crontab -l | conch-cron apply -f - --run-as \"$USER\" --name-prefix \"$(hostname)-\" --dry-run"},
		{Text: "And those of the system", Command: "conch-cron apply -f /etc/cron.d --system-crontab --dry-run"},
		{Text: "Restore what export has saved", Command: "conch-cron apply -f backup.json --prune"},
	},
	Statuses: applyStatuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &applyOptions{}
		f.Group("The files")
		f.Repeat(&o.files, cli.Row{Name: "file", Short: "f", Arg: "PATH", Env: cli.NoEnv, Help: "a file, a directory of *.json, *.yaml, *.yml, *.crontab and *.cron, or - for standard input; may be repeated"})
		f.Bool(&o.system, cli.Row{Name: "system-crontab", Env: cli.NoEnv, Help: "crontabs have a column for the user, as /etc/crontab has"})
		f.String(&o.user, cli.Row{Name: "run-as", Arg: "USER", Env: cli.NoEnv, Help: "the user that jobs run as which are out of crontabs without such a column"})
		f.String(&o.namePrefix, cli.Row{Name: "name-prefix", Arg: "TEXT", Env: cli.NoEnv, Help: "begin the names of jobs out of crontabs with it"})
		f.Group("What is done")
		f.Bool(&o.dryRun, cli.Row{Name: "dry-run", Env: cli.NoEnv, Help: "print what would change, and change nothing"})
		f.Bool(&o.prune, cli.Row{Name: "prune", Env: cli.NoEnv, Help: "remove jobs that are in none of the files, with their history; not what was submitted"})
		f.Bool(&o.allowEmpty, cli.Row{Name: "allow-empty", Env: cli.NoEnv, Help: "what -f names may hold no job; if it is named alone, --prune removes all jobs then, but of several not all may be empty"})
		f.String(&o.prefixOf, cli.Row{Name: "prefix-of", Arg: "GLOB", Env: cli.NoEnv, Help: "with --prune: only those with such a name"})
		o.connection(f)
		return o.run
	},
}

type applyOptions struct {
	session
	files      []string
	system     bool
	user       string
	namePrefix string
	dryRun     bool
	prune      bool
	allowEmpty bool
	prefixOf   string
}

// applyIn is how long all transactions of an apply may take together.
const applyIn = 5 * time.Minute

func (o *applyOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	only := globs{}
	if o.prefixOf != "" {
		only = globs{o.prefixOf}
	}
	switch {
	case len(args.Words)+len(args.Command) > 0:
		return cli.Usagef("%q: a file comes after -f", strings.Join(append(args.Words, args.Command...), " "))
	case len(o.files) == 0:
		return cli.Usagef("-f FILE is missing")
	case o.user != "" && o.system:
		return cli.Usagef("--run-as is for crontabs without a column for the user, and --system-crontab says that they have one")
	case o.prefixOf != "" && !o.prune:
		return cli.Usagef("--prefix-of goes with --prune")
	}
	if err := only.check(); err != nil {
		return err
	}
	var tabs jobfile.Imported
	jobs, err := o.read(stdio, &tabs)
	if err != nil {
		return err
	}
	return o.open(ctx, func(ctx context.Context, s cron.Store) error {
		changes, rev, err := o.changes(ctx, s, jobs, only)
		if err != nil {
			return err
		}
		o.noteImported(stdio, &tabs, changes)
		if len(changes) > 0 && !o.dryRun {
			if err := o.apply(ctx, stdio, s, rev, changes); err != nil {
				return err
			}
		}
		if err := printChanges(stdio, changes); err != nil {
			return err
		}
		o.sayUnplaced(ctx, stdio, s, changes)
		return nil
	})
}

// noteImported says what will be different for jobs of crontabs: once, when they are new
// or other than before, and whenever it is asked what would be.
func (o *applyOptions) noteImported(stdio *cli.Stdio, tabs *jobfile.Imported, changes []cron.Change) {
	var meant func(string) bool
	if !o.dryRun {
		put := map[string]bool{}
		for _, c := range changes {
			put[c.Name] = c.Job != nil
		}
		meant = func(name string) bool { return put[name] }
	}
	for _, n := range tabs.Notes(meant) {
		note(stdio, "%s", n)
	}
}

// sayUnplaced says of what has changed that no runner is there that may run it.
func (o *applyOptions) sayUnplaced(ctx context.Context, stdio *cli.Stdio, s cron.Store, changes []cron.Change) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	var jobs []*cron.Job
	for _, c := range changes {
		if c.Job != nil {
			jobs = append(jobs, c.Job)
		}
	}
	sayUnplaced(ctx, stdio, s, jobs...)
}

func (o *applyOptions) apply(ctx context.Context, stdio *cli.Stdio, s cron.Store, rev int64, changes []cron.Change) error {
	ctx, cancel := context.WithTimeout(ctx, applyIn)
	defer cancel()
	return s.Apply(ctx, rev, changes, func(done, total int) {
		if cli.Terminal(stdio.Err) && (done < total || total > 1000) {
			fmt.Fprintf(stdio.Err, "%d of %d jobs\n", done, total)
		}
	})
}

// badJob is a job that could be read, and cannot be.
type badJob struct{ error }

func (b badJob) Unwrap() error { return b.error }

// read reads the files, and checks the jobs.
func (o *applyOptions) read(stdio *cli.Stdio, tabs *jobfile.Imported) ([]cron.Job, error) {
	now := time.Now()
	options := jobfile.Options{SystemCrontab: o.system, User: o.user, Prefix: o.namePrefix, NeedJobs: !o.allowEmpty, Imported: tabs, Check: func(j *cron.Job) error {
		var bad []error
		for _, err := range parts(j.Check(now)) {
			bad = append(bad, badJob{err})
		}
		return errors.Join(bad...)
	}}
	var all []cron.Job
	var bad []error
	for _, file := range o.files {
		jobs, notes, err := readFile(stdio, options, file)
		for _, n := range notes {
			note(stdio, "%s", n)
		}
		all = append(all, jobs...)
		for _, err := range parts(err) {
			bad = append(bad, o.emptied(err))
		}
	}
	if len(bad) == 0 && len(all) == 0 && o.prune && len(o.files) > 1 {
		bad = append(bad, cli.Hint(&jobfile.Empty{Path: strings.Join(o.files, ", ")}, "--prune would remove all jobs; if that is what you want, name one of them alone"))
	}
	if len(bad) > 0 {
		return nil, sayAll(stdio, statusOf(bad), bad...)
	}
	if o.user != "" && len(all) > 0 && !slices.ContainsFunc(all, func(j cron.Job) bool { return j.User == o.user }) {
		note(stdio, "--run-as %s: no job is out of a crontab: they run as their files say, by user", o.user)
	}
	slices.SortFunc(all, func(a, b cron.Job) int { return strings.Compare(a.Name, b.Name) })
	for i := range all[:max(1, len(all))-1] {
		if all[i].Name == all[i+1].Name {
			return nil, cli.Errorf(cli.Usage, "two of the files have a job %s", all[i].Name)
		}
	}
	return all, nil
}

// emptied adds to the error for a file without a job what can be done.
func (o *applyOptions) emptied(err error) error {
	var empty *jobfile.Empty
	switch {
	case !errors.As(err, &empty) || empty.Hint() != "":
		return err
	case o.prune:
		return cli.Hint(err, "--prune removes jobs that are in no file; if that is what you want, add --allow-empty")
	}
	return cli.Hint(err, "if there is to be none, add --allow-empty")
}

func readFile(stdio *cli.Stdio, o jobfile.Options, file string) ([]cron.Job, []string, error) {
	if file != "-" {
		return o.Dir(file)
	}
	b, err := io.ReadAll(stdio.In)
	if err != nil {
		return nil, nil, err
	}
	return o.Read("standard input", b)
}

// statusOf is the status of what is wrong with files: that of one that could not be
// read, then of a job that cannot be, then of a file without one.
func statusOf(bad []error) int {
	status := cli.Failed
	for _, err := range bad {
		switch {
		case errors.As(err, new(badJob)):
			status = cli.Usage
		case !errors.As(err, new(*jobfile.Empty)):
			return cli.Config
		}
	}
	return status
}

// changes are what is to be done so that there are these jobs, by name.
func (o *applyOptions) changes(ctx context.Context, s cron.Store, jobs []cron.Job, only globs) ([]cron.Change, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	stored, rev, err := s.Jobs(ctx)
	if err != nil {
		return nil, 0, err
	}
	old := map[string]*cron.Stored{}
	for i := range stored {
		old[stored[i].Name] = &stored[i]
	}
	var changes []cron.Change
	for i := range jobs {
		j := &jobs[i]
		was := old[j.Name]
		delete(old, j.Name)
		if was == nil || was.Err != nil || len(jobfile.Diff(&was.Job, j)) > 0 {
			changes = append(changes, cron.Change{Name: j.Name, Job: j, Old: was})
		}
	}
	for job, was := range old {
		if o.prune && only.match(job) && was.KeepFor == 0 {
			changes = append(changes, cron.Change{Name: job, Old: was})
		}
	}
	slices.SortFunc(changes, func(a, b cron.Change) int { return strings.Compare(a.Name, b.Name) })
	return changes, rev, nil
}

// printChanges prints what apply does, or has done.
func printChanges(stdio *cli.Stdio, changes []cron.Change) error {
	var b strings.Builder
	for _, c := range changes {
		switch {
		case c.Old == nil:
			fmt.Fprintf(&b, "+ %s\n", c.Name)
		case c.Job == nil:
			fmt.Fprintf(&b, "- %s\n", c.Name)
			continue
		default:
			fmt.Fprintf(&b, "~ %s\n", c.Name)
		}
		var was *cron.Job
		if c.Old != nil {
			was = &c.Old.Job
		}
		for _, line := range jobfile.Diff(was, c.Job) {
			if !strings.HasPrefix(line, "+ name: ") {
				fmt.Fprintf(&b, "    %s\n", cli.OneLine(line))
			}
		}
	}
	if len(changes) == 0 {
		b.WriteString("no changes\n")
	}
	_, err := io.WriteString(stdio.Out, b.String())
	return err
}

var exportTool = cli.Tool{
	Name:  "export",
	Brief: "print jobs as a file that apply reads",
	Usage: []string{"[NAME-GLOB]... [-o json|yaml]"},
	Examples: []cli.Example{
		{Text: "All, to be kept", Command: "conch-cron export -o json >backup.json"},
		{Text: "One, to be edited", Command: "conch-cron export backup >backup.yaml"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &exportOptions{}
		f.Group("The file")
		f.Enum(&o.form, cli.Row{Name: "output", Short: "o", Values: []string{"json", "yaml"}, Default: "yaml", Env: cli.NoEnv, Help: "an array, or documents"})
		o.connection(f)
		f.Complete(o.jobNames)
		return o.run
	},
}

type exportOptions struct {
	session
	form string
}

func (o *exportOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	names := globs(args.Words)
	if len(args.Command) > 0 {
		return misplaced(args.Command)
	}
	if err := names.check(); err != nil {
		return err
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		stored, _, err := s.Jobs(ctx)
		if err != nil {
			return err
		}
		jobs, err := picked(stdio, stored, names)
		if err != nil {
			return err
		}
		return jobfile.Write(stdio.Out, o.form, jobs)
	})
}

// picked are the jobs that are meant: without names all but what was submitted.
// A name that is no pattern must be there.
func picked(stdio *cli.Stdio, stored []cron.Stored, names globs) ([]cron.Job, error) {
	for _, n := range names {
		is := func(j cron.Stored) bool { ok, _ := path.Match(n, j.Name); return ok }
		if !slices.ContainsFunc(stored, is) && !isGlob(n) {
			return nil, fmt.Errorf("%s: %w", n, cron.ErrNoJob)
		}
	}
	var jobs []cron.Job
	for _, j := range stored {
		switch {
		case !names.match(j.Name), len(names) == 0 && j.KeepFor > 0:
		case j.Err != nil:
			note(stdio, "%s cannot be read, and is left out: %v", j.Name, j.Err)
		default:
			jobs = append(jobs, j.Job)
		}
	}
	return jobs, nil
}
