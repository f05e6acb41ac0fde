package model

// Protocol is what candidates do. All times are in ticks.
type Protocol struct {
	TTL       int
	LockDelay int // from when a successor saw that it is first, if the turn before was not released
	Margin    int // a deadline lies this much before the end of the lease
	Flaws
}

// LockDelayTTL is what --lock-delay ttl comes to: the old holder's TTL, and the
// margin for the clocks once more.
func LockDelayTTL(ttl, margin int) int { return ttl + margin }

// Flaws are departures from conch's protocol.
type Flaws struct {
	KeepaliveOnly    bool // renew without the read before
	AnyMember        bool // let the keepalive go through another member than the read
	CountFromReceipt bool // count the deadline from when the answer came
	AcceptLate       bool // accept an answer after the deadline has passed
	Unwatched        bool // do not watch one's own key
	SkipOwnKey       bool // claim without checking that one's own key still exists
	SkipDeadline     bool // start without checking that the deadline has not passed
	NoRecord         bool // write no running record
	RecordLate       bool // write it after the start
	ReleaseAlive     bool // clear key and record before the command is dead
	ClearAnyRecord   bool // clear the record even if it is somebody else's
	Outlive          bool // do not kill at the deadline
	TakeUnrecorded   bool // take a turn by its release alone, without one's own record written
	TakeUnreleased   bool // take it when the key in front has gone, whatever became of its record
	NeverTakeOver    bool // wait for a foreign record to go, however long that takes
}

// World is what may happen to candidates and to etcd. The zero value is one in
// which nothing goes wrong but that anything may take any time.
type World struct {
	Faults Fault // those that may happen, as often as they like

	// ElectionTimeout, if not 0, makes raft keep its times: a leader is elected
	// only when the last one has not been heard for so long, and gives each
	// lease so much on top; one that runs without a quorum steps down after
	// twice that, but a pause does not count. With 0 anybody may be elected at
	// any time, and be deposed without ever noticing.
	ElectionTimeout int
}

// Fault is a set of kinds of faults. What mends one is always possible.
type Fault uint16

const (
	Elect    Fault = 1 << iota // another leader, be the old one well or not
	Pause                      // a member of etcd is stopped for a while
	Part                       // it is cut off from the others; clients still reach it
	CutOff                     // a holder reaches no member but one that is apart, paused or deposed
	Stop                       // a holder's supervisor is stopped, by SIGSTOP say
	Wrongful                   // a deposed leader revokes what it wrongly thinks has expired
	Operator                   // somebody revokes a lease or deletes a key
	Slip                       // a clock gains or loses a tick, once in a candidacy
)

// Promise is a set of what is checked.
type Promise uint8

const (
	// OneCommand: never two commands at once.
	OneCommand Promise = 1 << iota
	// OneIfHeard is the same, but excuses a holder whose key went, and which
	// then was cut off or stopped for a tick or more.
	OneIfHeard
	// Recorded: the running record names whoever's command is alive, or with
	// OneIfHeard that holder is excused.
	Recorded
	// TokensRise: each command's token is greater than that of the one before,
	// or with OneIfHeard that holder is excused.
	TokensRise
	// NoRevival: a deadline that has passed is not moved again, for whoever
	// waited for it may have begun to kill.
	NoRevival
	// NobodyStuck: whoever is in line and not lost can still come to run its
	// command without another fault.
	NobodyStuck
)

// breach is how a promise was broken.
type breach uint8

const (
	kept breach = iota
	twoCommands
	unrecorded
	tokenFell
	revived
	stuck
)

func (b breach) String() string {
	return [...]string{
		"", "two commands are alive", "a command is alive, and the running record is not its own",
		"a token is not greater than the one before", "a deadline that had passed was moved",
		"a candidate can never come to run",
	}[b]
}
