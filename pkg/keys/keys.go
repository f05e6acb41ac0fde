// Package keys says where things lie in etcd and what a name may be.
//
// It does not talk to etcd and knows nothing of what the keys hold. All of
// conch's keys are spelled here and nowhere else; the schema is public, so that
// etcdctl can read it.
//
//	/conch/v1/elect/<name>/<lease hex>  one key per candidate; the lowest create-revision is the head
//	/conch/v1/elect-run/<name>/<lease hex>  whose command may be alive, or may start at any moment (no lease)
//	/conch/v1/sema/<name>/<lease hex>   one key per holder or waiter of a semaphore, oldest first
//	/conch/v1/sema-state/<name>/cap     its capacity, while in use (no lease)
//	/conch/v1/sema-state/<name>/slot/<n>  who has slot n (the holder's lease)
//	/conch/v1/sema-state/<name>/run/<n>   whose command may be alive in it (no lease)
//	/conch/v1/sema-host/<name>/<host>/<lease hex>  with --spread, who may stand in line for a host
//	/conch/v1/sema-host-run/<name>/<host>/<lease hex>  as elect-run, for that line
//	/conch/v1/evict/<lease hex>         who evicted the hold of that lease (same lease)
//	/conch/v1/once/<name>/<key>         a thing done once and for ever (no lease), its key one that a name could be
//	/conch/v1/once-text/<name>/<text>   the same of any other key, with %20, %2F and %25 for space, slash and %
//
// and of cron, where a tick is the scheduled instant, in seconds of UTC and of
// fixed width, so that keys sort as instants do:
//
//	/conch/v1/cron/job/<name>           what a job is (no lease)
//	/conch/v1/cron/lw/<name>            its low water: no tick up to this can be claimed any more (no lease)
//	/conch/v1/cron/run/<name>/<id>      the claim of a run, then its result (no lease); <id> is <tick>, or <tick><place>
//	/conch/v1/cron/act/<name>/<tick>    a run that has no result yet (no lease): alive while its runner's node key exists
//	/conch/v1/cron/act/<name>/<place>/<tick>  likewise, of a job that runs in several places; a ~ behind: it waits for its next attempt
//	/conch/v1/cron/last/<name>          how the latest run of a job ended (no lease)
//	/conch/v1/cron/node/<id>            a runner (its lease)
//	/conch/v1/cron/paused               while it exists, nothing is claimed (no lease)
//	/conch/v1/cron/req/<name>/<id>      asked for by hand: a run now, or a kill (no lease)
//	/conch/v1/cron/restored             an operator's word that etcd was restored from a backup (no lease)
package keys

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultPrefix is where the keys lie unless --prefix says otherwise.
const DefaultPrefix = "/conch/v1"

// maxName is the longest name, in bytes. etcd's own limit is the request size;
// this one keeps lines readable.
const maxName = 200

// Space is a prefix in etcd that holds one conch. Two Spaces never meet, unless
// one lies in the other.
type Space string

// NewSpace returns the space under prefix: at least one byte, a slash in front
// and none behind, and otherwise as a name may be.
func NewSpace(prefix string) (Space, error) {
	p := strings.TrimRight(prefix, "/")
	if p == "" || p[0] != '/' {
		return "", fmt.Errorf("prefix %q must begin with a slash and name something, like %s", prefix, DefaultPrefix)
	}
	for _, part := range strings.Split(p[1:], "/") {
		if err := CheckName(part); err != nil {
			return "", fmt.Errorf("prefix %q: %w", prefix, err)
		}
	}
	return Space(p), nil
}

// A Line is where the candidates for one thing queue.
type Line struct {
	Name string // what the user called it
	Dir  string // candidates lie under this, which ends in a slash
	Runs string // running records, likewise
}

// Candidate returns the key of the candidate whose lease is id.
func (l Line) Candidate(id int64) string { return l.Dir + Hex(id) }

// Record returns the key of the running record of the candidate whose lease is
// id.
func (l Line) Record(id int64) string { return l.Runs + Hex(id) }

// RecordOf returns the key of the running record of the candidate whose key that is.
func (l Line) RecordOf(candidate string) string {
	return l.Runs + strings.TrimPrefix(candidate, l.Dir)
}

// Office returns the line for the office called name. The name must have
// passed CheckName.
func (s Space) Office(name string) Line {
	return Line{
		Name: name,
		Dir:  string(s) + "/elect/" + name + "/",
		Runs: string(s) + "/elect-run/" + name + "/",
	}
}

// Offices returns the prefix under which all offices lie; see OfficeOf.
func (s Space) Offices() string { return string(s) + "/elect/" }

// OfficeOf returns the name of the office that the candidate's key belongs to.
func (s Space) OfficeOf(key string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(key, s.Offices())
	if !ok {
		return "", false
	}
	name, _, ok = strings.Cut(rest, "/")
	return name, ok && name != ""
}

// A Pool is a Line in which several have a turn at the same time: a semaphore.
// All that changes when somebody's turn begins or ends lies under State, so that
// it can be read, watched and compared as one.
type Pool struct {
	Line
	State string // ends in a slash
	Hosts string // the lines of PoolHost lie under this, which ends in a slash

	hostRuns string // their running records, likewise
}

// Pool returns the semaphore called name. The name must have passed CheckName.
func (s Space) Pool(name string) Pool {
	return Pool{
		Line:  Line{Name: name, Dir: s.Pools() + name + "/"},
		State: string(s) + "/sema-state/" + name + "/",
		Hosts: string(s) + "/sema-host/" + name + "/",

		hostRuns: string(s) + "/sema-host-run/" + name + "/",
	}
}

// Pools returns the prefix under which the candidates of all semaphores lie.
func (s Space) Pools() string { return string(s) + "/sema/" }

// PoolHost returns the line in which candidates of one host, or of one value of
// another label, stand for the semaphore called name. All must have passed
// CheckName.
func (s Space) PoolHost(name, host string) Line {
	p := s.Pool(name)
	return Line{Name: name, Dir: p.Hosts + host + "/", Runs: p.hostRuns + host + "/"}
}

// RecordOf returns the key of the running record of a candidate for a host, or
// another label; empty for one of the semaphore itself, whose record is its slot's.
func (p Pool) RecordOf(candidate string) string {
	rest, ok := strings.CutPrefix(candidate, p.Hosts)
	if !ok {
		return ""
	}
	return p.hostRuns + rest
}

// HostOf returns for which host the candidate's key stands in line.
func (p Pool) HostOf(key string) (host string, ok bool) {
	rest, ok := strings.CutPrefix(key, p.Hosts)
	if !ok {
		return "", false
	}
	host, _, ok = strings.Cut(rest, "/")
	return host, ok
}

// Cap returns the key of the capacity.
func (p Pool) Cap() string { return p.State + "cap" }

// Slot returns the key of who has slot n.
func (p Pool) Slot(n int) string { return p.State + slotPart + strconv.Itoa(n) }

// RunIn returns the key of the running record of slot n.
func (p Pool) RunIn(n int) string { return p.State + runPart + strconv.Itoa(n) }

const slotPart, runPart = "slot/", "run/"

// SlotOf and RunOf return the number of the slot whose key, or running record,
// this is.
func (p Pool) SlotOf(key string) (n int, ok bool) { return number(key, p.State+slotPart) }
func (p Pool) RunOf(key string) (n int, ok bool)  { return number(key, p.State+runPart) }

func number(key, prefix string) (int, bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(rest)
	return n, err == nil && n >= 0 && rest == strconv.Itoa(n)
}

// Evict returns the key of the note that says who evicted the hold with lease
// id. It is put under that same lease, so it goes when the lease does.
func (s Space) Evict(id int64) string { return string(s) + "/evict/" + Hex(id) }

// Hex spells a lease id as etcdctl does: lower case, 16 digits or fewer, no
// prefix.
func Hex(id int64) string { return fmt.Sprintf("%x", id) }

// CheckName says why s cannot be the name of an office, a semaphore or a job,
// or nil. A name is 1 to 200 bytes of printable UTF-8 without a slash or a
// space: it is one element of a key, and a word in a line of output.
func CheckName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the name is empty")
	case len(s) > maxName:
		return fmt.Errorf("the name is %d bytes long; the limit is %d", len(s), maxName)
	case !utf8.ValidString(s):
		return fmt.Errorf("the name %+q is not UTF-8", s)
	}
	for _, r := range s {
		if r == '/' {
			return fmt.Errorf("the name %q contains a slash; use a dot or a dash, as in %q", s, strings.ReplaceAll(s, "/", "."))
		}
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("the name %+q contains %+q; use printable characters without spaces", s, r)
		}
	}
	return nil
}
