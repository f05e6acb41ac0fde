package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"conch/pkg/cron"
	"conch/pkg/schedule"
)

// generator writes the script of a seed.
type generator struct {
	*rand.Rand
	s     *script
	names []string
	specs map[string]*cron.Job
	made  int // versions of commands

	pauses int // of all jobs
}

// generate returns the script of a seed, of some length.
func generate(seed uint64, length time.Duration) *script {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 2)), s: &script{seed: seed, length: length}, specs: map[string]*cron.Job{}}
	for i := range 2 + g.IntN(3) {
		h := hostSpec{name: fmt.Sprintf("host%d", i+1), slots: []int{1, 2, 4, 16}[g.IntN(4)]}
		if g.IntN(3) == 0 {
			h.role = "db"
		}
		g.s.hosts = append(g.s.hosts, h)
	}
	for i := range 1 + g.IntN(5) {
		name := fmt.Sprintf("j%d", i+1)
		g.names = append(g.names, name)
		g.add(name, time.Duration(g.IntN(120))*time.Second)
	}
	// Trouble of all kinds, of a few kinds, or none: what is rare is not to be drowned.
	faults, edits := g.some(g.hostFaults()), g.some(g.edits())
	etcdFaults := g.some(g.etcdFaults())
	g.scatter(length, []float64{0, 0.5, 2, 8}[g.IntN(4)], faults)
	g.scatter(length, []float64{0, 0.2, 1}[g.IntN(3)], etcdFaults)
	g.scatter(length, []float64{0, 1, 6, 20}[g.IntN(4)], edits)
	slices.SortStableFunc(g.s.actions, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	return g.s
}

func (g *generator) some(all []func(time.Duration)) []func(time.Duration) {
	g.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	return all[:1+g.IntN(len(all))]
}

// scatter lets things happen so often an hour, at any time, or near a full minute.
func (g *generator) scatter(length time.Duration, hourly float64, what []func(time.Duration)) {
	if hourly == 0 {
		return
	}
	for at := time.Duration(0); ; {
		at += time.Duration(g.ExpFloat64() * float64(time.Hour) / hourly)
		if at >= length {
			return
		}
		when := at
		if g.IntN(2) == 0 {
			when = at.Truncate(time.Minute) + g.span(-3*time.Second, 6*time.Second)
		}
		what[g.IntN(len(what))](max(when.Truncate(time.Millisecond), 0))
	}
}

func (g *generator) span(low, high time.Duration) time.Duration {
	return low + time.Duration(g.Int64N(int64(high-low)+1))
}

// lasting draws a duration: short ones are as many as long ones.
func (g *generator) lasting() time.Duration {
	bounds := []time.Duration{500 * time.Millisecond, 3 * time.Second, 15 * time.Second, 90 * time.Second, 10 * time.Minute}
	i := g.IntN(len(bounds) - 1)
	return g.span(bounds[i], bounds[i+1]).Truncate(time.Millisecond)
}

func (g *generator) do(at time.Duration, who, verb, format string, a ...any) {
	g.s.actions = append(g.s.actions, action{at, who, verb, fmt.Sprintf(format, a...)})
}

func (g *generator) host() string { return g.s.hosts[g.IntN(len(g.s.hosts))].name }
func (g *generator) name() string { return g.names[g.IntN(len(g.names))] }

func (g *generator) offset() time.Duration {
	by := []time.Duration{700 * time.Millisecond, 3 * time.Second, 40 * time.Second, time.Hour}[g.IntN(4)]
	if g.IntN(2) == 0 {
		return -by
	}
	return by
}

func (g *generator) hostFaults() []func(time.Duration) {
	lasts := func(verb string) func(time.Duration) {
		return func(at time.Duration) { g.do(at, g.host(), verb, "%v", g.lasting()) }
	}
	return []func(time.Duration){
		func(at time.Duration) {
			h := g.host()
			g.do(at, h, "clock", "%s", signed(g.offset()))
			if g.IntN(3) > 0 {
				g.do(at+g.lasting(), h, "ntp", "")
			}
		},
		func(at time.Duration) {
			by := g.span(200*time.Millisecond, 12*time.Second).Truncate(time.Millisecond)
			over := time.Duration(float64(by) / []float64{0.0005, 0.01, 0.1}[g.IntN(3)]).Truncate(time.Second)
			if g.IntN(2) == 0 {
				by = -by
			}
			h := g.host()
			g.do(at, h, "slew", "%s %v", signed(by), over+time.Second)
			g.do(at+over+g.lasting(), h, "ntp", "")
		},
		func(at time.Duration) {
			h, epilogue := g.host(), ""
			if g.IntN(2) == 0 {
				epilogue = "epilogue"
			}
			g.do(at, h, "kill", "%s", epilogue)
			g.do(at+g.lasting(), h, "start", "")
		},
		func(at time.Duration) { g.do(at, g.host(), "restart", "%v", g.lasting()+30*time.Second) },
		lasts("stop"), lasts("suspend"), lasts("cut"), lasts("slow"), lasts("lossy"), lasts("disk-full"), lasts("lacks"),
	}
}

func signed(d time.Duration) string {
	if d >= 0 {
		return "+" + d.String()
	}
	return d.String()
}

func (g *generator) etcdFaults() []func(time.Duration) {
	lasts := func(verb string) func(time.Duration) {
		return func(at time.Duration) { g.do(at, "etcd", verb, "%v", g.lasting()) }
	}
	return []func(time.Duration){
		lasts("down"), lasts("nospace"), lasts("refuse"),
		func(at time.Duration) { g.do(at, "etcd", "compact", "") },
		func(at time.Duration) { g.do(at, "etcd", "evict", "%s", g.host()) },
		func(at time.Duration) {
			g.do(at, "etcd", "backup", "")
			back, other := at+g.lasting(), ""
			if g.IntN(3) == 0 {
				other = "other"
			}
			g.do(back, "etcd", "restore", "%s", other)
			g.do(back+20*time.Second+g.lasting(), "hand", "restored", "")
		},
	}
}

func (g *generator) edits() []func(time.Duration) {
	return []func(time.Duration){
		func(at time.Duration) { g.change(at, g.name()) }, func(at time.Duration) { g.change(at, g.name()) }, func(at time.Duration) { g.change(at, g.name()) },
		func(at time.Duration) {
			name := g.name()
			g.do(at, "hand", []string{"rm", "rm-kill"}[g.IntN(2)], "%s", name)
			if g.IntN(4) > 0 {
				g.add(name, at+g.lasting()/10)
			}
		},
		func(at time.Duration) {
			a, b := g.name(), g.name()+"x"
			g.do(at, "hand", "rename", "%s %s", a, b)
			g.do(at+g.lasting(), "hand", "rename", "%s %s", b, a)
		},
		func(at time.Duration) {
			name := g.name()
			g.do(at, "hand", "pause", "%s", name)
			g.do(at+g.lasting(), "hand", "resume", "%s", name)
		},
		func(at time.Duration) {
			if g.pauses++; g.pauses <= 15 { // of so many in a few hours there is memory
				g.do(at, "hand", "pause-all", "")
				g.do(at+g.lasting(), "hand", "resume-all", "")
			}
		},
		func(at time.Duration) {
			g.made++
			name := fmt.Sprintf("s%d", g.made)
			if g.IntN(3) == 0 {
				name = g.name()
			}
			j := g.job(name)
			j.Schedule, j.KeepFor, j.TZ, j.Anchor, j.Starts, j.Expires, j.Splay = "@manual", cron.Duration(g.span(time.Minute, 2*time.Hour).Truncate(time.Second)), "", nil, nil, nil, 0
			j.On = g.where()
			g.do(at, "hand", "submit", "%s %s", name, specText(j))
		},
		func(at time.Duration) { g.do(at, "hand", "run", "%s", g.name()) },
		func(at time.Duration) {
			name, id := g.name(), fmt.Sprintf("id%d", g.IntN(20))
			g.do(at, "hand", "run", "%s %s", name, id)
		},
		func(at time.Duration) { g.do(at, "hand", "kill", "%s", g.name()) },
		func(at time.Duration) { g.do(at, "hand", "apply", "described %d", g.IntN(1000)) },
		func(at time.Duration) {
			g.do(at, "hand", "clock", "%s", signed(g.span(-maxWrong, maxWrong).Truncate(time.Millisecond)))
		},
	}
}

func (g *generator) add(name string, at time.Duration) {
	j := g.job(name)
	g.specs[name] = j
	g.do(at, "hand", "add", "%s %s", name, specText(j))
}

// change edits one field of a job, or two.
func (g *generator) change(at time.Duration, name string) {
	is := g.specs[name]
	if is == nil {
		return
	}
	j, other := *is, g.job(name)
	for range 1 + g.IntN(2) {
		switch g.IntN(16) {
		case 0, 1:
			j.Description = fmt.Sprintf("described %d", g.IntN(1000))
		case 2:
			j.Schedule = other.Schedule
		case 3:
			j.TZ = other.TZ
		case 4:
			j.DST = []schedule.Rule{schedule.Once, schedule.Skip, schedule.Wall}[g.IntN(3)]
		case 5:
			j.Splay = other.Splay
		case 6:
			starts := origin.Add(at + g.span(-time.Minute, 5*time.Minute)).Truncate(100 * time.Millisecond)
			j.Starts = &starts
		case 7:
			expires := origin.Add(at + g.span(time.Minute, 3*time.Hour)).Truncate(100 * time.Millisecond)
			if j.Starts == nil || j.Starts.Before(expires) {
				j.Expires = &expires
			}
		case 8:
			j.Cmd = other.Cmd
		case 9:
			j.On = other.On
		case 10:
			j.Overlap = other.Overlap
		case 11:
			j.Misfire = other.Misfire
		case 12:
			j.Deadline = other.Deadline
		case 13:
			j.Retry = other.Retry
		case 14:
			j.Keep = other.Keep
		case 15:
			j.RunTTL = other.RunTTL
		}
	}
	g.specs[name] = &j
	g.do(at, "hand", "edit", "%s %s", name, specText(&j))
}

func (g *generator) where() string {
	return []string{"", "", "", "any role=db", "all", "all role=db", "2", "3"}[g.IntN(8)]
}

var halfMinute = cron.Duration(30 * time.Second)

// job draws a job.
func (g *generator) job(name string) *cron.Job {
	g.made++
	takes := []time.Duration{100 * time.Millisecond, 3 * time.Second, 20 * time.Second, 70 * time.Second, 200 * time.Second}[g.IntN(5)]
	j := &cron.Job{
		Name:     name,
		Schedule: []string{"* * * * *", "* * * * *", "*/5 * * * *", "0 * * * *", "30 2 * * *", "@every 90s", "H * * * *", "H/10 * * * *", "0,30 * * * *", "*/5 * * * *", "H/20 * * * *", "15 */2 * * *"}[g.IntN(12)],
		Cmd:      []string{"sim", fmt.Sprintf("v%d", g.made), "takes=" + takes.String(), "spread=" + (takes / 2).String()},
		On:       g.where(),
		Overlap:  []cron.Overlap{"", "", cron.Forbid, cron.Allow, cron.Replace}[g.IntN(5)],
		Misfire:  []cron.Misfire{"", "", cron.MisfireSkip, cron.MisfireOnce, cron.MisfireAll}[g.IntN(5)],
		Deadline: []cron.Duration{0, 0, cron.Duration(10 * time.Second), cron.Duration(5 * time.Minute), cron.Duration(time.Hour)}[g.IntN(5)],
		RunTTL:   []*cron.Duration{nil, nil, &halfMinute}[g.IntN(3)],
		Keep:     []int{0, 0, 1, 3, 10}[g.IntN(5)],
	}
	switch g.IntN(200) {
	case 0:
		j.Schedule = "@every 1s"
	case 1, 2, 3, 4, 5, 6:
		j.Schedule = "@every 37s"
	}
	if g.IntN(3) == 0 {
		j.Cmd = append(j.Cmd, "fail=0.3")
	}
	if g.IntN(6) == 0 {
		j.Cmd = append(j.Cmd, "hang=0.05")
	}
	if g.IntN(6) == 0 {
		j.Cmd = append(j.Cmd, "cling=0.2")
	}
	if g.IntN(4) == 0 {
		j.TZ = []string{"Europe/Rome", "America/New_York", "Australia/Lord_Howe"}[g.IntN(3)]
	}
	if g.IntN(4) == 0 {
		j.Splay = cron.Duration([]time.Duration{10 * time.Second, 5 * time.Minute, time.Hour}[g.IntN(3)])
	}
	if g.IntN(3) == 0 {
		j.Retry = &cron.Retry{N: 1 + g.IntN(3), Backoff: cron.Duration([]time.Duration{0, time.Second, time.Minute}[g.IntN(3)])}
	}
	if g.IntN(5) == 0 {
		j.OnFailure = "tell"
	}
	return j
}
