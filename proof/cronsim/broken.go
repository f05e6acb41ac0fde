package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/plan"
)

// broken puts something back as it once was, between a planner and what it is told, or
// what it wants, or around it. If the books balance all the same, they prove nothing
// when they balance.
type broken struct {
	name  string
	kinds string // of failures that show it, with commas
	// script writes the world of a seed in which it can be seen; nil: any will do.
	script func(seed uint64) *script

	byScript bool                                       // it is the hand that does what is refused by now
	job      func(s *session, name string, j *cron.Job) // what is told of a job
	facts    func(s *session, facts []plan.Fact) []plan.Fact
	verbs    func(s *session, verbs []plan.Verb) []plan.Verb

	// What is around a planner:
	anyCluster   bool // what was kept is offered to whatever cluster
	forgetsFirst bool // what cluster there is is not kept at first
	noGivingBack bool // a start that failed for what the host lacks has failed
	noBounds     bool // neither causes nor batches have any
	allMet       bool // all requests about a run are deleted with its end
}

// told lets a broken planner be told something else.
func (b *broken) told(s *session, facts []plan.Fact) []plan.Fact {
	if b.job != nil {
		for i, f := range facts {
			p, ok := f.(plan.Put)
			if !ok || p.Entry.Kind != "job" {
				continue
			}
			j, err := cron.DecodeJob(p.Value)
			if err != nil {
				continue
			}
			b.job(s, p.Entry.Name, j)
			p.Value, _ = json.Marshal(j)
			facts[i] = p
		}
	}
	if b.facts != nil {
		facts = b.facts(s, facts)
	}
	return facts
}

// remember keeps what a broken planner is to remember, for the life of a session.
func (s *session) remember(key string, v any) {
	if s.notes == nil {
		s.notes = map[string]any{}
	}
	s.notes[key] = v
}

// eachSettle changes the settlements that a planner wants.
func eachSettle(change func(s *session, v *plan.Settle)) func(*session, []plan.Verb) []plan.Verb {
	return func(s *session, verbs []plan.Verb) []plan.Verb {
		for i, v := range verbs {
			if v, ok := v.(plan.Settle); ok {
				change(s, &v)
				verbs[i] = v
			}
		}
		return verbs
	}
}

// eachNote changes what a planner has counted.
func eachNote(change func(s *session, v *plan.Note)) func(*session, []plan.Verb) []plan.Verb {
	return func(s *session, verbs []plan.Verb) []plan.Verb {
		for i, v := range verbs {
			if v, ok := v.(plan.Note); ok {
				change(s, &v)
				verbs[i] = v
			}
		}
		return verbs
	}
}

// without leaves out verbs.
func without(is func(s *session, v plan.Verb) bool) func(*session, []plan.Verb) []plan.Verb {
	return func(s *session, verbs []plan.Verb) []plan.Verb {
		kept := verbs[:0]
		for _, v := range verbs {
			if !is(s, v) {
				kept = append(kept, v)
			}
		}
		return kept
	}
}

// scripted is a script that is the same for each seed, but for what the world draws.
func scripted(text string) func(uint64) *script {
	return func(seed uint64) *script {
		s, err := readScript(strings.NewReader(text))
		if err != nil {
			panic(err)
		}
		s.seed = seed
		return s
	}
}

// once is how it was, line by line of what must not be again.
var once = []broken{
	{
		name: "the removal of a job of one run removes whoever has its name by then", kinds: "job removed",
		script: scripted(`length 01:30:00
host host1 slots=4
at 00:01:00 hand submit a {"schedule":"@manual","cmd":["sim"],"keep-for":"10m"}
at 00:05:00 hand rm a
at 00:05:05 hand add a {"schedule":"* * * * *","cmd":["sim"]}
`),
		facts: func(s *session, facts []plan.Fact) []plan.Fact {
			for _, f := range facts {
				if p, ok := f.(plan.Put); ok && p.Entry.Kind == "job" {
					if j, err := cron.DecodeJob(p.Value); err == nil && j.KeepFor > 0 {
						s.remember(p.Entry.Name, s.w.now+time.Duration(j.KeepFor))
					}
				}
			}
			return facts
		},
		verbs: func(s *session, verbs []plan.Verb) []plan.Verb {
			for name, at := range s.notes {
				if at.(time.Duration) < s.w.now {
					delete(s.notes, name)
					if v := s.w.books.jobOf(name).now(); v != nil {
						verbs = append(verbs, plan.Withdraw{Job: name, Rev: v.rev})
					}
				}
			}
			return verbs
		},
	},
	{
		name: "an edit of any field loses the ticks that are due", kinds: "vanished",
		script: func(seed uint64) *script {
			text := "length 01:00:00\nhost host1 slots=1\n" +
				`at 00:00:10 hand add a {"schedule":"* * * * *","cmd":["sim"],"splay":"30s","deadline":"5m"}` + "\n" +
				`at 00:00:10 hand add b {"schedule":"* * * * *","cmd":["sim","v1","takes=40s"],"deadline":"5m"}` + "\n"
			for m := 5; m < 50; m += 5 {
				text += "at 00:" + keys.Tick(time.Unix(int64(m), 0))[11:] + ":20 hand apply described\n"
			}
			return scripted(text)(seed)
		},
		job: func(s *session, name string, j *cron.Job) {
			if len(s.w.books.jobOf(name).versions) > 1 {
				j.Since = s.host.wall().UTC()
			}
		},
	},
	{
		name: "a result that etcd had no space for is overtaken by the loss of its run", kinds: "result lost",
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=30s"]}
at 00:05:10 etcd nospace 40s
`),
		facts: func(s *session, facts []plan.Fact) []plan.Fact {
			for _, f := range facts {
				if f, ok := f.(plan.Settled); ok && f.Err != nil {
					s.remember(f.ID.String()+" "+f.Claim, f)
				}
			}
			return facts
		},
		verbs: func(s *session, verbs []plan.Verb) []plan.Verb {
			for key, f := range s.notes {
				f := f.(plan.Settled)
				r := s.w.books.runOf(f.ID).record
				if r == nil || s.w.db.full {
					continue
				}
				delete(s.notes, key)
				verbs = slices.DeleteFunc(verbs, func(v plan.Verb) bool { // it comes after that
					o, ok := v.(plan.Settle)
					return ok && o.Run.RunID == f.ID
				})
				run := &cron.Run{RunID: f.ID, Claim: r.Claim, Attempt: r.Attempt, State: cron.Unknown, Ended: s.host.wall().UTC(), JobRev: r.JobRev}
				verbs = append(verbs, plan.Settle{ReadRun: true, Settlement: cron.Settlement{Run: run, Rev: r.Rev, Memory: &cron.Memory{Rev: -1}}})
			}
			return verbs
		},
	},
	{
		name: "a run that ends while the clock is ahead has ticks over that are still to come", kinds: "last.tick in the future",
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=60s"]}
at 00:05:10 host1 clock +1h
at 00:10:10 host1 ntp
`),
		verbs: eachSettle(func(s *session, v *plan.Settle) {
			if v.Memory != nil && v.Ours {
				v.Over = s.host.wall().UTC().Truncate(time.Second)
			}
		}),
	},
	{
		name: "with a splay, ticks count as over that are not due", kinds: "last.tick in the future",
		script: scripted(`length 02:00:00
host host1 slots=4
at 00:00:10 hand add spread {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=2m"],"splay":"1h"}
`),
		verbs: eachSettle(func(s *session, v *plan.Settle) {
			if v.Memory != nil {
				v.Over = s.host.wall().UTC().Truncate(5 * time.Minute)
			}
		}),
	},
	{
		name: "an attempt that a clock has put off by an hour is waited for", kinds: "retry not made",
		script: scripted(`length 01:00:00
host host1 slots=4
host host2 slots=4
at 00:00:10 hand add a {"schedule":"0,30 * * * *","cmd":["sim","v1","takes=60s","fail=1"],"retry":{"n":2,"backoff":"10s"}}
at 00:00:10 hand add b {"schedule":"0,30 * * * *","cmd":["sim","v1","takes=60s","fail=1"],"retry":{"n":2,"backoff":"10s"}}
at 00:30:10 host1 clock +1h
at 00:31:30 host1 ntp
`),
		verbs: without(func(s *session, v plan.Verb) bool {
			c, ok := v.(plan.Claim)
			if !ok || c.Claim.After == 0 {
				return false
			}
			r := s.w.books.runOf(c.Claim.Run.RunID).record
			return r != nil && r.RetryAt.After(s.host.wall())
		}),
	},
	{
		name: "a request that was there before a standby is not started after it", kinds: "request not met,left over",
		script: scripted(`length 01:00:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"@manual","cmd":["sim","v1"],"deadline":"10m"}
at 00:10:00 host1 clock +40s
at 00:10:10 hand run a x
at 00:12:00 host1 ntp
`),
		facts: func(s *session, facts []plan.Fact) []plan.Fact {
			kept := facts[:0]
			for _, f := range facts {
				if p, ok := f.(plan.Put); ok && p.Entry.Kind == "req" && s.standby != "" {
					continue
				}
				kept = append(kept, f)
			}
			return kept
		},
	},
	{
		name: "what waits for a host that never returns waits for ever", kinds: "left over,history grows,retry not made",
		script: scripted(`length 06:00:00
host host1 slots=4
host host2 slots=4
at 00:00:10 hand add a {"schedule":"* * * * *","cmd":["sim","v1","takes=20s"],"on":"all","retry":{"n":2,"backoff":"10s"},"keep":3}
at 00:10:10 host2 gone
`),
		verbs: without(func(s *session, v plan.Verb) bool {
			t, ok := v.(plan.Settle)
			return ok && !t.Ours && t.Run.State == cron.Failed
		}),
	},
	{
		name: "all requests to kill a run go with its end", kinds: "left over",
		script: func(seed uint64) *script {
			text := "length 00:20:00\nhost host1 slots=4\n" + `at 00:00:10 hand add a {"schedule":"0 * * * *","cmd":["sim","v1","takes=5m","cling=1"]}` + "\nat 00:00:20 hand run a x\n"
			for range 130 {
				text += "at 00:01:00 hand kill a\n"
			}
			return scripted(text)(seed)
		},
		allMet: true,
	},
	{
		name: "results are sent together however large they are", kinds: "left over",
		script: func(seed uint64) *script {
			text := "length 00:20:00\nhost host1 slots=100\n"
			for i := range 60 {
				text += fmt.Sprintf("at 00:00:10 hand add j%d {\"schedule\":\"*/5 * * * *\",\"cmd\":[\"sim\",\"v1\",\"takes=2s\",\"fail=1\",\"says=40000\"]}\n", i)
			}
			return scripted(text)(seed)
		},
		noBounds: true,
	},
	{
		name: "a request's id may end as the marker of a run that waits does", kinds: "unmarked", byScript: true,
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=5s"]}
at 00:00:20 hand run a x~
`),
	},
	{
		name: "a retry is made under whatever job has the name", kinds: "another's command",
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=5s","fail=1"],"retry":{"n":2,"backoff":"1m"}}
at 00:05:20 hand rm a
at 00:05:20 hand add a {"schedule":"@manual","cmd":["sim","v2","takes=5s"],"retry":{"n":2,"backoff":"1m"}}
`),
		facts: func(s *session, facts []plan.Fact) []plan.Fact {
			for i, f := range facts {
				p, ok := f.(plan.Put)
				if !ok || p.Entry.Kind != "act" {
					continue
				}
				var a cron.Act
				if json.Unmarshal(p.Value, &a) == nil {
					a.JobRev = 0
					p.Value, _ = json.Marshal(a)
					facts[i] = p
				}
			}
			return facts
		},
	},
	{
		name: "to pause a job stops its ticks alone", kinds: "retried while paused",
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=5s","fail=1"],"retry":{"n":2,"backoff":"1m"}}
at 00:05:20 hand pause a
`),
		job: func(s *session, _ string, j *cron.Job) {
			if j.Paused {
				j.Paused, j.Schedule = false, "@manual"
			}
		},
	},
	{
		name: "ticks of a pause are made up for", kinds: "made up for a pause",
		script: scripted(`length 01:00:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=5s"],"misfire":"all"}
at 00:07:00 hand pause-all
at 00:30:00 hand resume-all
at 00:31:00 host1 kill
at 00:31:10 host1 start
`),
		facts: func(s *session, facts []plan.Fact) []plan.Fact {
			kept := facts[:0]
			for _, f := range facts {
				if p, ok := f.(plan.Put); ok && p.Entry.Kind == "resumed" {
					continue
				}
				kept = append(kept, f)
			}
			return kept
		},
	},
	{
		name: "ticks that were skipped are run as misfires after a restart", kinds: "contradicted",
		script: scripted(`length 01:00:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"* * * * *","cmd":["sim","v1","takes=4m30s"],"misfire":"all"}
at 00:20:45 host1 restart 1m
at 00:40:45 host1 restart 1m
`),
		verbs: eachSettle(func(_ *session, v *plan.Settle) {
			if v.Memory != nil && v.Ours {
				v.Over = v.Run.Tick
			}
		}),
		facts: func(s *session, facts []plan.Fact) []plan.Fact {
			for i, f := range facts {
				p, ok := f.(plan.Put)
				if !ok || p.Entry.Kind != "last" {
					continue
				}
				var l cron.Last
				if json.Unmarshal(p.Value, &l) == nil { // nor is it known how long the last one took
					l.Began = l.Ended
					p.Value, _ = json.Marshal(l)
					facts[i] = p
				}
			}
			return facts
		},
	},
	{
		name: "a job is remembered as lost when the true end of its run has come", kinds: "last,runs",
		script: scripted(`length 00:30:00
host host1 slots=4
host host2 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=8s"]}
at 00:00:10 hand add b {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=8s"]}
at 00:05:05 host1 cut 30s
at 00:15:05 host2 cut 30s
`),
		verbs: eachSettle(func(s *session, v *plan.Settle) {
			if k := s.host.kept(v.Run.RunID, v.Run.Claim); v.Ours && k != nil && s.running[v.Run.RunID.String()] == nil && s.w.now-since(v.Run.Ended) > 8*time.Second {
				v.Memory = nil
			}
		}),
	},
	{
		name: "what was kept for one cluster is offered to another", kinds: "result thrown away",
		script: scripted(`length 00:30:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=30s"]}
at 00:04:00 etcd backup
at 00:05:10 etcd nospace 2m
at 00:06:00 etcd restore other
at 00:06:01 etcd nospace 1s
at 00:06:30 hand restored
`),
		anyCluster: true,
	},
	{
		name: "a first start does not keep which cluster it has seen", kinds: "claimed twice,started twice",
		script: scripted(`length 00:30:00
host host1 slots=4
at 00:00:10 etcd backup
at 00:00:01 hand add a {"schedule":"* * * * *","cmd":["sim","v1","takes=5s"],"misfire":"all"}
at 00:03:30 host1 kill
at 00:03:31 etcd restore other
at 00:03:40 host1 start
`),
		forgetsFirst: true,
	},
	{
		name: "a job of one run that was not started is never removed", kinds: "left over",
		script: scripted(`length 04:00:00
host host1 slots=4
at 00:00:10 hand submit a {"schedule":"@manual","cmd":["sim"],"keep-for":"10m","deadline":"1m","on":"any role=db"}
`),
		verbs: without(func(s *session, v plan.Verb) bool {
			w, ok := v.(plan.Withdraw)
			return ok && w.Request == "" && !s.w.books.jobOf(w.Job).hasLast
		}),
	},
	{
		name: "an edit of where a job runs does not reach what was asked for", kinds: "misplaced",
		script: scripted(`length 00:20:00
host host1 slots=1
at 00:00:10 hand add b {"schedule":"@manual","cmd":["sim","v1","takes=5m"]}
at 00:00:10 hand add a {"schedule":"@manual","cmd":["sim","v1"],"deadline":"10m"}
at 00:01:00 hand run b x
at 00:02:00 hand run a y
at 00:03:00 hand edit a {"schedule":"@manual","cmd":["sim","v1"],"deadline":"10m","on":"any role=db"}
`),
		job: func(s *session, name string, j *cron.Job) { j.On = s.w.books.jobOf(name).versions[0].spec.On },
	},
	{
		name: "one host's pruning forbids another's tick", kinds: "vanished,contradicted,unaccounted",
		script: scripted(`length 01:00:00
host host1 slots=4
host host2 slots=1
at 00:00:10 hand add a {"schedule":"* * * * *","cmd":["sim","v1","takes=1s"],"on":"all","keep":1,"deadline":"5m","overlap":"allow"}
at 00:00:10 hand add b {"schedule":"*/10 * * * *","cmd":["sim","v1","takes=3m"],"on":"all","overlap":"allow","run-ttl":"5m","deadline":"5m"}
`),
		verbs: eachSettle(func(_ *session, v *plan.Settle) {
			if v.Memory != nil {
				v.Prune, v.Newest = true, v.Run.Tick.Add(-time.Second)
				if v.Spec == nil {
					v.Spec = &cron.Job{Keep: 1}
				}
			}
		}),
	},
	{
		name: "a job that starts within a second runs early", kinds: "no tick",
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"@every 1s","cmd":["sim","v1","takes=1ms"],"starts":"2026-03-28T20:05:00.5Z","expires":"2026-03-28T20:05:10Z"}
`),
		job: func(_ *session, _ string, j *cron.Job) {
			if j.Starts != nil {
				starts := j.Starts.Truncate(time.Second)
				j.Starts = &starts
			}
		},
	},
	{
		name: "a start that failed for what its host lacks has failed", kinds: "failed for its host",
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=1s"]}
at 00:04:50 host1 lacks 30s
`),
		noGivingBack: true,
	},
	{
		name: "nobody tells of a run whose end its sentinel has written", kinds: "left over",
		script: scripted(`length 00:20:00
host host1 slots=4
host host2 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=100s"]}
at 00:05:30 host1 kill epilogue
at 00:05:40 host2 kill epilogue
at 00:06:00 host1 start
at 00:06:10 host2 start
`),
		verbs: without(func(_ *session, v plan.Verb) bool { _, tells := v.(plan.Tell); return tells }),
	},
	{
		name: "of ticks that nobody has run ten are counted", kinds: "uncounted",
		script: scripted(`length 01:30:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"* * * * *","cmd":["sim","v1","takes=1s"]}
at 00:05:10 host1 kill
at 01:00:10 host1 start
`),
		verbs: eachNote(func(_ *session, v *plan.Note) {
			for i := range v.Gaps {
				v.Gaps[i].Count = min(v.Gaps[i].Count, 10)
			}
		}),
	},
	{
		name: "ticks that nobody has run are counted by each runner", kinds: "counted wrongly,counts went back",
		script: scripted(`length 00:30:00
host host1 slots=4
host host2 slots=4
at 00:00:10 hand add a {"schedule":"* * * * *","cmd":["sim","v1","takes=1s"],"on":"any role=none"}
`),
		facts: func(s *session, facts []plan.Fact) []plan.Fact { // nobody is told of what another has counted
			for i, f := range facts {
				p, ok := f.(plan.Put)
				var l cron.Last
				if ok && p.Entry.Kind == "last" && json.Unmarshal(p.Value, &l) == nil && l.Reckoned != nil && l.Reckoned.By != s.node.ID {
					l.Reckoned = nil
					p.Value, _ = json.Marshal(l)
					facts[i] = p
				}
			}
			return facts
		},
	},
	{
		name: "ticks that nobody can run are counted one by one", kinds: "counted too often",
		script: scripted(`length 00:30:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"@every 5s","cmd":["sim","v1","takes=1s"],"on":"any role=none"}
`),
		facts: func(s *session, facts []plan.Fact) []plan.Fact {
			for i, f := range facts {
				p, ok := f.(plan.Put)
				var l cron.Last
				if ok && p.Entry.Kind == "last" && json.Unmarshal(p.Value, &l) == nil && l.Reckoned != nil {
					is := *l.Reckoned
					is.At = time.Time{}
					l.Reckoned = &is
					p.Value, _ = json.Marshal(l)
					facts[i] = p
				}
			}
			return facts
		},
	},
	{
		name: "retries go on when they were taken out of the job", kinds: "retried too often",
		script: scripted(`length 00:20:00
host host1 slots=4
at 00:00:10 hand add a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=1s","fail=1"],"retry":{"n":2,"backoff":"1m"}}
at 00:05:30 hand edit a {"schedule":"*/5 * * * *","cmd":["sim","v1","takes=1s","fail=1"]}
`),
		job: func(s *session, name string, j *cron.Job) { j.Retry = s.w.books.jobOf(name).versions[0].spec.Retry },
	},
}

// allKinds are all failures that can be known.
var allKinds = strings.Split("claims while draining,claims while standing by,a lie,another's command,claim,claimed twice,contradicted,counted too often,counted wrongly,counts went back,failed for its host,history grows,job removed,job written,last,last.tick in the future,"+
	"last.tick went back,left over,made up for a pause,misplaced,no such run,no tick,not the last,overlap,ran while paused,request not met,request withdrawn,result lost,"+
	"result replaced,result thrown away,retried too often,retried while paused,retry not made,runs,runs went back,started twice,told twice,too early,unaccounted,uncounted,unmarked,vanished", ",")

// find looks for a seed that shows what is broken. Other promises count as known to be
// broken.
func (b *broken) find(seeds uint64) (*failure, uint64) {
	write := b.script
	if write == nil {
		write = func(seed uint64) *script { return generate(seed, 3*time.Hour) }
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		w := newWorld(write(seed), b)
		w.known = map[string]bool{}
		for _, k := range allKinds {
			w.known[k] = !slices.Contains(strings.Split(b.kinds, ","), k)
		}
		if f := w.run(); f != nil && slices.Contains(strings.Split(b.kinds, ","), f.kind) {
			return f, seed
		}
	}
	return nil, seeds
}

// whole is b with nothing broken.
func (b *broken) whole() *broken { return &broken{name: b.name, kinds: b.kinds, script: b.script} }

// printBroken prints by what each behaviour that was once is found.
func printBroken(out io.Writer) error {
	fmt.Fprintln(out, "| what once was | seed | steps | found as |\n|---|---|---|---|")
	var missed int
	for i := range once {
		f, seed := once[i].find(20)
		if f == nil {
			fmt.Fprintf(out, "| %s | %d | | NOT FOUND |\n", once[i].name, seed)
			missed++
			continue
		}
		fmt.Fprintf(out, "| %s | %d | %d | %s: %s |\n", once[i].name, seed, f.step, f.kind, f.text)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d were not found", missed, len(once))
	}
	return nil
}
