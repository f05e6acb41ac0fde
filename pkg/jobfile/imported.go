package jobfile

import "conch/pkg/cron"

// imported is what crontabs hold, as far as it becomes something else here.
type imported struct {
	jobs    bool
	unowned bool // they do not say whom a job runs as
	noPath  bool
	mailed  bool
}

func (i *imported) job(j *cron.Job, quiet bool) {
	i.jobs = true
	i.unowned = i.unowned || j.User == ""
	i.noPath = i.noPath || j.Env["PATH"] == ""
	i.mailed = i.mailed || !quiet
}

func (i *imported) add(o imported) {
	i.jobs, i.unowned = i.jobs || o.jobs, i.unowned || o.unowned
	i.noPath, i.mailed = i.noPath || o.noPath, i.mailed || o.mailed
}

// notes say what will be different, once for all files.
func (i *imported) notes() []string {
	var all []string
	note := func(is bool, text string) {
		if is {
			all = append(all, "crontab: "+text)
		}
	}
	note(i.unowned, "cron runs it as its owner, at home; here it is run as the runner's user, in /: --run-as USER names another, and runs it at home")
	note(i.noPath, "cron's PATH is /usr/bin:/bin; here it is the runner's, as is all of the environment that the crontab does not set")
	note(i.jobs, "cron lets a run go on for ever; here it is stopped after "+defaultRunTTL+" (run-ttl)")
	note(i.jobs, "cron starts a job beside its last run; here that tick is skipped (overlap: forbid)")
	note(i.jobs, "cron leaves what a job has put in the background; here it is killed when the job ends")
	note(i.mailed, "cron mails what a job prints; here the end of it is kept if the job fails, and on-failure can tell somebody")
	note(i.jobs, "conch-cron export prints the jobs as a file in which all that can be set")
	return all
}

// defaultRunTTL is cron.DefaultRunTTL as one writes it.
const defaultRunTTL = "10m"
