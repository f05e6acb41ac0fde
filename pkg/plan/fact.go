package plan

import (
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/keys"
)

// Reading is what time it is. Wall is compared with instants that others have written,
// and may be set; Up never goes back, counts while the machine is suspended, and is
// what lengths of time are measured on.
type Reading struct {
	Wall time.Time
	Up   clock.Instant
}

// Fact is something that a planner is told. Facts take effect in the order in which
// they are told.
type Fact interface{ fact() }

type (
	// Reread: the table is read anew. What is not told again before Whole is not there
	// any more.
	Reread struct{}

	// Put: a key has this value. Value is not kept.
	Put struct {
		Entry keys.Entry
		Value []byte
		Made  int64 // its create-revision
		Rev   int64 // its mod-revision
		Lease int64 // 0: none
	}

	// Deleted: a key is not there any more, as of Rev.
	Deleted struct {
		Entry keys.Entry
		Rev   int64
	}

	// Whole: the table is as it is at Rev. Before the first of these nothing is
	// decided.
	Whole struct{ Rev int64 }

	// Answer is what came of a Claim. Run, if not nil, is the record that there is now:
	// Ours, or somebody else's. Err is one of cron's reasons to refuse a claim, or that
	// the answer cannot be had.
	Answer struct {
		ID   keys.RunID
		Run  *cron.Run
		Ours bool
		Err  error
	}

	// Ended: all that a run has started is dead, or nothing could be started. Run is
	// its record, with how it ended: State is final, Skipped is not set. Of one that has
	// been kept since, because etcd would not have it or by an earlier start of this
	// runner, Kept is true; those that there are come before the first Whole, if etcd is
	// to be believed. One that was kept for another etcd is Foreign: it has its place in
	// this one only if that was restored from the other, and knows of the claim. Unstarted
	// says that the host had too little of something: the command was not begun.
	Ended struct {
		Run       *cron.Run
		Kept      bool
		Foreign   bool
		Unstarted bool
	}

	// Settled: a Settle or GiveUp of a run of ours has been carried out, and who is to be
	// told has been: etcd has the result of that claim, or, with an error, what keeps
	// results does, and offers it again.
	Settled struct {
		ID    keys.RunID
		Claim string
		Err   error
	}

	// Standby: nothing is to be taken on from now on, and why; empty: it is again.
	Standby struct{ Why string }

	// Drain: nothing is taken on any more.
	Drain struct{}

	// StopAll: what runs is to end.
	StopAll struct{}
)

func (Reread) fact()  {}
func (Put) fact()     {}
func (Deleted) fact() {}
func (Whole) fact()   {}
func (Answer) fact()  {}
func (Ended) fact()   {}
func (Settled) fact() {}
func (Standby) fact() {}
func (Drain) fact()   {}
func (StopAll) fact() {}
