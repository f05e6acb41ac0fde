package death

// Protocol is what processes and their sentinels do. The zero value is conch's; each
// field that is set is a departure from it.
type Protocol struct {
	ArmLate      bool // let a sentinel stand by only once the join was answered
	DisarmEarly  bool // let it go when the release begins
	DisarmAtTurn bool // let it go with the turn, before the command has one
	ClearAlive   bool // clear up before the command is dead
	KeepLease    bool // delete key and record of the dead, and do not revoke the lease
	KeepRecord   bool // revoke the lease, with which the key goes, and leave the record
	LeaveOnce    bool // do not look again after the revoke
	RevokeOnce   bool // do not wait for what the dead has sent
	AskForEver   bool // revoke until there was a lease, though there may never be one
	ClearOnlyOwn bool // leave, as the last in line, the records of those who died in it
	NeverLend    bool // do not see to the record of the next in line
	LeaveLoan    bool // do not make sure, at the end, that the lease is gone that one's record was under
	KeepLoan     bool // leave one's record on loan when the turn has begun

	ReadyBehindLoan bool // take it for a release when a record goes that is on loan
}

// World is what may happen.
type World struct {
	Processes int  // that join, each once, at any time
	Kill      bool // any process may get a SIGKILL, at any step; never its sentinel
	Leave     bool // one may be tired of waiting, or give its turn back
	Lose      bool // one that waits may be killed together with its sentinel, so that its lease lapses
	Promptly  bool // but not in the moment in which somebody releases

	SpareLenders bool // nobody is killed while it sees to the record of the next in line
}

// Promise is a set of what is checked.
type Promise uint8

const (
	// OneCommand: never two commands at once.
	OneCommand Promise = 1 << iota
	// Recorded: whose command is alive has its key, and its record.
	Recorded
	// NothingLeft: when all is quiet, a process that is no more has no key, no lease
	// and no record. That of one that was lost with its sentinel may stay while
	// somebody has the turn.
	NothingLeft
	// NobodyIdle: when all is quiet and somebody waits, then somebody has the turn.
	// No lease has had to lapse for that, and no lock-delay to be over.
	NobodyIdle
	// NoStray: then there is no lease either that was granted for a record and has
	// none under it.
	NoStray
	// Quiet: it always comes to that.
	Quiet
)

// breach is how a promise was broken.
type breach uint8

const (
	kept breach = iota
	twoCommands
	unrecorded
	left
	idle
	stray
	endless
)

func (b breach) String() string {
	return [...]string{
		"", "two commands are alive", "a command is alive without its key, or its record",
		"something is left of a process that is no more", "somebody waits, and nobody has the turn", "a lease is left with no record under it", "it never becomes quiet",
	}[b]
}

// promise is what b breaks.
func (b breach) promise() Promise {
	return [...]Promise{0, OneCommand, Recorded, NothingLeft, NobodyIdle, NoStray, Quiet}[b]
}
