package jobfile

import "conch/pkg/cron"

// Imported are jobs out of crontabs, with what becomes something else of them here.
type Imported struct{ jobs []crontabJob }

type crontabJob struct {
	name    string
	unowned bool // it does not say whom it runs as
	noPath  bool
	mailed  bool
}

func (i *Imported) job(j *cron.Job, quiet bool) {
	i.jobs = append(i.jobs, crontabJob{j.Name, j.User == "", j.Env["PATH"] == "", !quiet})
}

func (i *Imported) add(o Imported) { i.jobs = append(i.jobs, o.jobs...) }

// Notes say what will be different for those of the jobs that are meant, once for all of
// them; nil: all are.
func (i *Imported) Notes(meant func(name string) bool) []string {
	var any, unowned, noPath, mailed bool
	for _, j := range i.jobs {
		if meant == nil || meant(j.name) {
			any, unowned, noPath, mailed = true, unowned || j.unowned, noPath || j.noPath, mailed || j.mailed
		}
	}
	var all []string
	note := func(is bool, text string) {
		if is {
			all = append(all, "crontab: "+text)
		}
	}
	note(unowned, "cron runs it as its owner, at home; here it is run as the runner's user, in /: --run-as USER names another, and runs it at home")
	note(noPath, "cron's PATH is /usr/bin:/bin; here it is the runner's, as is all of the environment that the crontab does not set")
	note(any, "cron lets a run go on for ever; here it is stopped after "+defaultRunTTL+" (run-ttl)")
	note(any, "cron starts a job beside its last run; here that tick is skipped (overlap: forbid)")
	note(any, "cron leaves what a job has put in the background; here it is killed when the job ends")
	note(mailed, "cron mails what a job prints; here the end of it is kept if the job fails, and on-failure can tell somebody")
	note(any, "conch-cron export prints the jobs as a file in which all that can be set")
	return all
}

// defaultRunTTL is cron.DefaultRunTTL as one writes it.
const defaultRunTTL = "10m"
