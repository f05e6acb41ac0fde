package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/keys"
	"conch/pkg/proc"
)

// selfExe is this program.
const selfExe = "/proc/self/exe"

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is what the run's tree is started with.
func (r *running) command() (proc.Cmd, *output, error) {
	argv := r.spec.Cmd
	if r.spec.Script != "" {
		argv = []string{"/bin/sh", "-c", r.spec.Script}
	}
	who, err := r.user()
	if err != nil {
		return proc.Cmd{}, nil, err
	}
	c := proc.Cmd{Args: argv, Env: r.environ(who), Dir: r.dir(who), Session: true}
	stdin, first := r.spec.Stdin, ""
	if r.spec.Via != "" {
		if c.Args, first, err = overSSH(r.spec, argv, r.outputs(), r.run.Claim, r.silence()); err != nil {
			return proc.Cmd{}, nil, err
		}
	}
	if c.Paths, err = proc.Look(c.Args[0], lookup(c.Env, "PATH", defaultPath)); err != nil {
		return proc.Cmd{}, nil, err
	}
	r.become(&c, who)
	if c.Epilogue, err = r.epilogue(); err != nil {
		return proc.Cmd{}, nil, err
	}
	out, err := newOutput(stdin, r.passOn, r.archive.log(r.run, r.spec.Keeps()))
	if err != nil {
		return proc.Cmd{}, nil, err
	}
	if r.spec.Via != "" {
		if err := out.heartbeat(first); err != nil {
			out.close(true)
			return proc.Cmd{}, nil, err
		}
	}
	if who != nil {
		out.giveTo(who)
	}
	c.Stdio = out.stdio()
	return c, out, nil
}

// lookup returns a variable of env; of two the first counts.
func lookup(env []string, name, otherwise string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return otherwise
}

// user is whom the job is to run as, if it says so.
func (r *running) user() (*user.User, error) {
	if r.spec.User == "" {
		return nil, nil
	}
	u, err := lookupUser(r.spec.User)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", r.spec.User, err)
	}
	if os.Getuid() != 0 && !isSelf(u) {
		return nil, fmt.Errorf("user %s: the runner is not root", r.spec.User)
	}
	return u, nil
}

// lookupUser finds a user by name or, if there is none of that name, by number. One that
// has a number alone, as is usual in containers, is somebody, too.
func lookupUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err == nil {
		return u, nil
	}
	byID, iderr := user.LookupId(name)
	if iderr == nil {
		return byID, nil
	}
	if n, nerr := strconv.ParseUint(name, 10, 32); nerr == nil && n < math.MaxUint32 && isNobody(iderr) {
		number := strconv.FormatUint(n, 10)
		return &user.User{Uid: number, Gid: number, Username: number, HomeDir: "/"}, nil
	}
	return nil, err
}

// isNobody reports whether it is for want of such a user that one was not found.
func isNobody(err error) bool {
	return errors.As(err, new(user.UnknownUserIdError)) || errors.Is(err, fs.ErrNotExist)
}

// isSelf reports whether u is the runner's own user.
func isSelf(u *user.User) bool { return u.Uid == strconv.Itoa(os.Getuid()) }

// dir is where the command starts.
func (r *running) dir(who *user.User) string {
	switch {
	case r.spec.Via != "": // its directory is on another host
		return "/"
	case r.spec.Cwd != "":
		return r.spec.Cwd
	case who != nil && isDir(who.HomeDir):
		return who.HomeDir
	}
	return "/"
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// private are the beginnings of variables that are the runner's own: its flags,
// among them passwords, and what its service manager tells it.
var private = []string{"CONCH_", "ETCDCTL_", "NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_", "JOURNAL_STREAM=", "INVOCATION_ID=", "CREDENTIALS_DIRECTORY=", "STATE_DIRECTORY=", "LOGS_DIRECTORY=", "TRACEPARENT="}

// environ is the command's environment: the runner's without what is private,
// then the user's, the job's, and what it may know of the run.
func (r *running) environ(who *user.User) []string {
	vars := map[string]string{}
	var names []string
	set := func(name, value string) {
		if _, ok := vars[name]; !ok {
			names = append(names, name)
		}
		vars[name] = value
	}
	set("PATH", defaultPath)
	for _, e := range r.cfg.Env {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" && !isPrivate(e) {
			set(name, value)
		}
	}
	if who != nil {
		set("HOME", who.HomeDir)
		set("USER", who.Username)
		set("LOGNAME", who.Username)
		set("SHELL", "/bin/sh") // as cron(8) has it
	}
	for name, value := range r.spec.Env {
		set(name, value)
	}
	env := make([]string, 0, len(names)+12)
	for _, name := range names {
		env = append(env, name+"="+vars[name])
	}
	return append(env, r.outputs()...)
}

func isPrivate(entry string) bool {
	for _, p := range private {
		if strings.HasPrefix(entry, p) {
			return true
		}
	}
	return false
}

// outputs are the variables that tell the command what it runs for.
func (r *running) outputs() []string {
	token := fence.Token{Key: r.cron.Act(r.run.RunID), Rev: r.run.Rev, Lease: r.lease.ID, Cluster: r.cluster.Load()}
	return append([]string{
		"CONCH_KIND=cron",
		"CONCH_NAME=" + r.run.Job,
		"CONCH_JOB=" + r.run.Job,
		"CONCH_TICK=" + r.run.Tick.Format(time.RFC3339),
		"CONCH_RUN=" + r.run.RunID.String(),
		"CONCH_ATTEMPT=" + strconv.Itoa(r.run.Attempt),
		"TRACEPARENT=" + r.run.Trace,
	}, token.Env()...)
}

// Output is the name of the event that is a line of a command's output.
const Output = "output"

// passOn passes on a line of the command's output.
func (r *running) passOn(line []byte) {
	r.say(Event{Event: Output, Level: Info, Job: r.run.Job, Run: r.run.RunID.String(), Tick: r.run.Tick, Trace: r.run.Trace, Reason: string(line)})
}

// EpilogueName is what the helper is started as that records a run as lost when
// the runner has been killed: see Epilogue.
const EpilogueName = proc.SentinelName + "-lost" // it is spared where the sentinel was

// EpilogueVar hands it what to record. Like the password that may be in it, it
// can be read by the runner's user only.
const EpilogueVar = "CONCH_LOST"

// last words of a runner over one of its runs.
type lastWill struct {
	Etcd etcd.Config `json:"etcd"`
	Keys keys.Cron   `json:"keys"`
	ID   string      `json:"id"`
	Job  *cron.Job   `json:"job"`
	Run  *cron.Run   `json:"run"`
	Rev  int64       `json:"rev"`
	Over time.Time   `json:"over"`
}

// tick is up to where the job's ticks are over with this run: one that was asked for is
// on no schedule, and by the clock of who has asked.
func (r *running) tick() time.Time {
	if _, manual := r.run.Request(); manual {
		return time.Time{}
	}
	return r.run.Tick
}

// epilogue is what the sentinel becomes when this process has been killed and
// the run's tree is empty.
func (r *running) epilogue() (*proc.Epilogue, error) {
	run := *r.run
	spec := &cron.Job{Name: r.spec.Name, Retry: r.spec.Retry}
	b, err := json.Marshal(lastWill{r.cfg.Etcd.Config(), r.cron, run.ID(), spec, &run, run.Rev, r.tick()})
	if err != nil {
		return nil, err
	}
	return &proc.Epilogue{Args: []string{EpilogueName}, Env: append(slices.Clone(r.cfg.Env), proc.Pieces(EpilogueVar, string(b))...), Stay: true}, nil
}
