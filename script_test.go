package conch_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/proctest"
)

// The scripts in testdata/script run the real binaries against a real etcd.
// They share one server and each has
//
//   - a prefix of its own, CONCH_PREFIX;
//   - a road of its own to the server, CONCH_ENDPOINTS, which it may cut;
//   - ETCDCTL_ENDPOINTS, the server itself past the road, for etcdctl;
//   - W, "conch-elect o --", to be put in front of a command in a shell, and empty
//     where TestScriptBare runs the script to show that it expects of conch what
//     is seen without it: the condition [bare]. There are [race], [root], [freezer], [clock],
//     [sshd] and [static] too;
//   - TTL, the shortest that this etcd allows, in seconds: 2, or 4 if its reads do not
//     verify a renewal, which is the condition [!verifies]; LONGER, a second more; and
//     ETCD_VERSION;
//   - the tools first in PATH, and these commands, beside testscript's own:
//
// Processes (script_process_test.go)
//
//	exits [-t D] STATUS CMD...   run CMD to its end; STATUS is a number or sig:TERM. stdin, stdout
//	                             and stderr are as with exec, but what CMD leaves behind may live on
//	spawn NAME [-tty|-stdin] CMD...  start CMD in its own process group, output to $WORK/NAME.out
//	                             and NAME.err; stdin is /dev/null, with -stdin a pipe, with -tty a
//	                             terminal of its own (then all output is in NAME.out)
//	type NAME TEXT               write to that pipe or terminal; Go escapes: 'ls\n' '\x03'
//	close NAME                   end that pipe
//	signal [-group] SIG NAME|@FILE   FILE holds pids
//	reap [-t D] NAME STATUS      wait for its end; STATUS as above, or any
//	[!] alive NAME|FILE          is any of the pids in FILE alive? A zombie is not
//	await [-t D] FILE REGEXP     until FILE has a match
//	await [-t D] -gone FILE      until none of its pids is alive
//	await [-t D] [!] -cmd CMD... until a program, or one of these commands, succeeds (fails)
//	[!] within D CMD...          one of these commands, and it took at most (more than) D
//	freeze FILE | thaw           keep its pids, but not their children, from doing anything, dying
//	                             included; until thaw, or the end. See the condition [freezer]
//	clock NAME|server D          from now on the time of day is, for this process or for the script's own
//	                             server, D later than it is; all its other clocks go on. See [clock]
//
// Etcd (script_etcd_test.go); a KEY that does not begin with / is below CONCH_PREFIX
//
//	etcd get [-prefix] KEY       lines of "key value"; fails when there is none
//	etcd put KEY VALUE | etcd del [-prefix] KEY
//	etcd count KEY-PREFIX [N]    print how many keys there are; fail unless there are N
//	etcd rev | etcd leases       the revision; all leases, in hex
//	etcd lease LEASE KEY         put KEY, empty, under a new lease of 60 s with this id
//	etcd revoke LEASE|@FILE | etcd revoke-of KEY
//	etcd compact                 up to now; on a server of the script's own
//	etcd alarm on|off            it has no room; on a server of the script's own
//	etcd allow read|readwrite    what the user app may do below CONCH_PREFIX
//	etcd passwd PASSWORD         change the password of the user app
//	etcd empty                   no key is left below CONCH_PREFIX, and no lease that one has had;
//	                             on a server of the script's own, no lease at all
//	server start [3] [tls] [auth] [jwt]   a server or cluster of the script's own, from here on;
//	                             with jwt the tokens of users are good for 4 seconds
//	server kill|stop|start|pause|resume [N]   of it, or of its Nth member
//	server leader [N]            print which member leads; or have the Nth lead
//	server proxy                 a grpc-proxy in front of the server is PROXY
//	server other                 another cluster, of one; a road to it, after those of the members,
//	                             is OTHER
//	road [N] cut|cut-in|cut-out|heal|refuse|drop|other|delay D|stats|reset   of the Nth member, or
//	                             all; other: from now on it leads to the other cluster
//
// Overlap (script_beat_test.go)
//
//	beat [-for D] [-ignore] [-daemon] LOG   a program: says in LOG that CONCH_REV is at work
//	overlap [-max N] LOG         no two were at work at once, and tokens rise; or no more than N were
//
// Programs (script_programs_test.go)
//
//	httpget STATUS URL           prints the body; fails if the answer has another status
//	notified SOCKET              prints what it is told as systemd would be, a line each
//	posted ADDRESS [ANSWER...]   answers HTTP, and prints what it is told. Each ANSWER is to one
//	                             request: a status, 503 if there is none at all; items:STATUS,... of a
//	                             bulk interface; lost, for one that is done and not answered. Then 200,
//	                             to /_bulk with an item for each document: 409 if that is there
//	tunnel LISTEN TARGET         leads whoever connects to TARGET; LISTEN is the path of a socket,
//	                             or an address, and then it is a proxy of HTTP, which prints what it
//	                             is asked for, and refuses all if TARGET is empty
//	freeport                     prints an address to listen on
//	jsonlines FILE FIELD         checks that each line is a JSON object; prints that field of all
//
// Signals (script_signals_test.go)
//
//	heed SIGNAL...               a program with a handler for each, also if it was ignored: prints
//	                             "ready", then "got SIGNAL N"; KILL ends it
//	dies SIGNAL,... REGEXP CMD...  for each signal start CMD, send that once its output has a match;
//	                             fails unless CMD dies of it, and dumps no goroutines
//	ctrlc N CMD...               N times CMD, which prints "begin" and "up", on a terminal, and Ctrl-C
//	                             at some time in between; fails unless CMD dies of it each time
//
// D is a duration; await, reap and exits give up after 30s.
func TestScript(t *testing.T) {
	p := params(t, binaries(t))
	p.Dir = "testdata/script"
	testscript.Run(t, p)
}

// params of scripts that have the tools of bin in PATH.
func params(t *testing.T, bin string) testscript.Params {
	srv := etcdtest.Shared(t)
	server := etcd.ReleaseOf(etcdtest.Version(t, srv))
	return testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                commands(),
		Condition: func(c string) (bool, error) {
			if c == "verifies" {
				return server.Verifies, nil
			}
			return condition(c)
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("ETCD_VERSION", server.Version)
			env.Setenv("TTL", strconv.Itoa(shortest(server)))
			env.Setenv("LONGER", strconv.Itoa(shortest(server)+1))
			return setup(env, srv, bin)
		},
	}
}

// shortest is the shortest TTL that a server allows, in seconds.
func shortest(server etcd.Release) int {
	if server.Verifies {
		return 2
	}
	return 4
}

func TestMain(m *testing.M) {
	testscript.Main(patient{etcdtest.M{M: m}}, map[string]func(){
		"beat": beatMain, "httpget": httpgetMain, "notified": notifiedMain, "freeport": freeportMain,
		"jsonlines": jsonlinesMain, "posted": postedMain, "tunnel": tunnelMain,
		"heed": heedMain, "dies": diesMain, "ctrlc": ctrlcMain,
	})
}

// patient runs more tests at a time than there are processors: a script waits much
// more than it works.
type patient struct{ etcdtest.M }

// Run runs the tests; -parallel still counts.
func (p patient) Run() int {
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	return p.M.Run()
}

// raceEnabled says that the tests were built with the race detector.
var raceEnabled bool

// limit is how long a command of a script may take.
const limit = 30 * time.Second

// binaries returns the directory of the tools under test: $CONCH_BIN, or they
// are built now, the way make does.
func binaries(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("CONCH_BIN"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	cmd := exec.Command("make", "-s", "build", "BIN="+dir)
	if raceEnabled {
		cmd.Args = append(cmd.Args, "RACE=1")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return dir
}

// script is the state of one script beyond what testscript holds.
type script struct {
	ts     *testscript.TestScript
	work   string
	prefix string
	procs  map[string]*process

	own       []*etcdtest.Server // the script's own cluster, or none
	other     *etcdtest.Server   // a cluster beside that, or nil
	stopProxy func()
	srv       *etcdtest.Server // one member of the cluster in use
	auth      bool
	roads     []*etcdtest.Proxy
	since     int64 // the revision when the script began

	frozen *proctest.Freezer // or nil
}

// key of the script in Env.Values.
type scriptKey struct{}

var scripts atomic.Int64

func setup(env *testscript.Env, srv *etcdtest.Server, bin string) error {
	s := &script{
		work:   env.WorkDir,
		prefix: fmt.Sprintf("/test/%s-%d", strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"), scripts.Add(1)),
		procs:  map[string]*process{},
		srv:    srv,
	}
	env.Values[scriptKey{}] = s
	env.Defer(func() {
		if s.frozen != nil {
			_ = s.frozen.Thaw()
		}
		s.killAll()
		if s.frozen != nil {
			_ = s.frozen.Close()
		}
		s.closeRoads()
		s.closeServers()
	})
	road, err := etcdtest.NewProxy(srv.Addr())
	if err != nil {
		return err
	}
	s.roads = []*etcdtest.Proxy{road}
	rev, err := s.revision()
	if err != nil {
		return err
	}
	s.since = rev
	env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
	env.Setenv("CONCH_PREFIX", s.prefix)
	env.Setenv("W", "conch-elect o --")
	for _, kv := range s.endpoints() {
		env.Setenv(kv[0], kv[1])
	}
	if raceEnabled {
		// Else each process waits a second at its end.
		env.Setenv("GORACE", "atexit_sleep_ms=10")
	}
	return nil
}

// endpoints returns the variables that say where etcd is.
func (s *script) endpoints() [][2]string {
	scheme, _, _ := strings.Cut(s.srv.Endpoint(), "://")
	var far, near []string
	for _, r := range s.roads {
		far = append(far, scheme+"://"+r.Addr())
	}
	for _, m := range s.own {
		near = append(near, m.Endpoint())
	}
	if len(near) == 0 {
		near = []string{s.srv.Endpoint()}
	}
	return [][2]string{
		{"CONCH_ENDPOINTS", strings.Join(far, ",")},
		{"ETCDCTL_ENDPOINTS", strings.Join(near, ",")},
	}
}

// commands wraps each command, so that they may call one another and be tried
// again: they return errors, and only here does one end the script.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	wrapped := map[string]func(*testscript.TestScript, bool, []string){}
	for name := range table() {
		wrapped[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			s := ts.Value(scriptKey{}).(*script)
			s.ts = ts
			if err := s.call(neg, append([]string{name}, args...)); err != nil {
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	return wrapped
}

// call runs a command of the table; neg turns its outcome round.
func (s *script) call(neg bool, args []string) error {
	if neg && args[0] != "alive" && args[0] != "within" {
		return fmt.Errorf("! %s means nothing", args[0])
	}
	f := table()[args[0]]
	if f == nil {
		return fmt.Errorf("%s is not one of the commands of script_test.go", args[0])
	}
	err := f(s, args[1:])
	if !neg {
		return err
	}
	if err == nil {
		return fmt.Errorf("unexpected success")
	}
	if _, no := err.(negative); no {
		s.ts.Logf("[%v]", err)
		return nil
	}
	return err
}

// negative is the answer no, as opposed to a command gone wrong.
type negative string

func (n negative) Error() string { return string(n) }

func table() map[string]func(*script, []string) error {
	return map[string]func(*script, []string) error{
		"exits": (*script).exits, "spawn": (*script).spawn, "type": (*script).typeIn,
		"close": (*script).closeIn, "signal": (*script).signal, "reap": (*script).reap, "freeze": (*script).freeze, "thaw": (*script).thaw,
		"alive": (*script).alive, "await": (*script).await, "within": (*script).within,
		"etcd": (*script).etcd, "server": (*script).server, "road": (*script).road,
		"overlap": (*script).overlap, "clock": (*script).clock,
	}
}

// timeout takes -t D off args.
func timeout(args []string) (time.Duration, []string, error) {
	if len(args) < 2 || args[0] != "-t" {
		return limit, args, nil
	}
	d, err := time.ParseDuration(args[1])
	return d, args[2:], err
}

// poll calls try until it returns nil or d is over, and returns the last error.
func poll(d time.Duration, try func() error) error {
	deadline := time.Now().Add(d)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %w", d, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// client returns a client that may do anything, straight to srv.
func (s *script) client(srv *etcdtest.Server) (*clientv3.Client, error) {
	user := ""
	if s.auth {
		user = etcdtest.RootUser
	}
	return srv.Client(user, user)
}

func (s *script) revision() (int64, error) {
	c, err := s.client(s.srv)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := c.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return r.Header.Revision, nil
}
