package sema

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/wrap"
)

// query is what is done instead of a command.
type query func(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, pool keys.Pool) error

// memberJSON is a holder or a waiter in --json output.
type memberJSON struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Cmd     string    `json:"cmd"`
	User    string    `json:"user"`
	State   string    `json:"state"`            // held, lingering, waiting
	Since   time.Time `json:"since"`            // of the hold or, for a waiter, of the wait
	Slot    *int      `json:"slot"`             // null: waits
	Rank    int       `json:"rank"`             // among those who wait in line, from 1; else 0
	Spread  string    `json:"spread,omitempty"` // waits for a turn of this host, or label, before it stands in line
	Weight  int       `json:"weight"`
	Mode    string    `json:"mode,omitempty"`  // shared or exclusive
	Value   string    `json:"value,omitempty"` // what a holder publishes
	Ask     string    `json:"ask,omitempty"`   // who has asked for the hold, or the place in line
	Rev     int64     `json:"rev"`
	Lease   string    `json:"lease"`
	Key     string    `json:"key"`

	Unkilled int `json:"unkilled,omitempty"`
}

// semaphoreJSON is --who --json.
type semaphoreJSON struct {
	Name    string       `json:"name"`
	Max     int          `json:"max"` // 0: not in use; 10001: shared and exclusive holds
	Holders []memberJSON `json:"holders"`
	Waiters []memberJSON `json:"waiters"`
}

// eventJSON is a line of --watch --json.
type eventJSON struct {
	Name  string `json:"name"`
	Event string `json:"event"` // held, waiting, gone
	memberJSON
}

func waits(c hold.Candidate) bool { return c.State == hold.Waiting }

func member(c hold.Candidate, capacity int) memberJSON {
	m := memberJSON{
		Host: c.Host, PID: c.PID, Started: c.Started, Cmd: c.Cmd, User: c.User, State: c.State, Since: c.Begun(),
		Slot: c.Slot, Weight: max(1, c.Weight), Mode: hold.Mode(capacity, c.Weight), Value: c.Published(), Ask: c.Ask, Rev: c.Rev, Lease: keys.Hex(c.Lease), Key: c.Key, Unkilled: c.Unkilled,
	}
	if m.State == "" { // of other software
		m.State = hold.Held
	}
	return m
}

// members are all of a line with their ranks.
func members(l hold.Line, capacity int) []memberJSON {
	var all []memberJSON
	rank := 0
	for _, c := range l.Candidates {
		m := member(c, capacity)
		if waits(c) {
			rank++
			m.Rank = rank
		}
		all = append(all, m)
	}
	return all
}

// everybody is who holds, who waits in line, and who waits for a host before that.
// moved are the candidates for a host who have been in line: they are not shown
// again where they leave it first.
func everybody(p hold.PoolLine, before map[int64]bool) (all []memberJSON, moved map[int64]bool) {
	all, moved = members(p.Line, p.Cap), map[int64]bool{}
	for _, label := range slices.Sorted(maps.Keys(p.Hosts)) {
		for _, c := range p.Hosts[label].Candidates {
			if before[c.Rev] || p.Entered(p.Hosts[label], c) {
				moved[c.Rev] = true
				continue
			}
			m := member(c, p.Cap)
			m.State, m.Spread = hold.Waiting, label // with the host's turn too, until it is in line
			all = append(all, m)
		}
	}
	return all, moved
}

// text is m as one line for people.
func (m memberJSON) text(name string) string {
	what := "HELD"
	switch {
	case m.Spread != "":
		what = "WAIT spread=" + m.Spread
	case m.Rank > 0:
		what = fmt.Sprintf("WAIT rank=%d", m.Rank)
	case m.State == hold.Lingering: // its command has ended; see --hold-for
		what = "KEPT"
	}
	if m.Slot != nil {
		what += fmt.Sprintf(" slot=%d", *m.Slot)
	}
	switch {
	case m.Mode != "":
		what += " " + m.Mode
	case m.Weight > 1:
		what += fmt.Sprintf(" weight=%d", m.Weight)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s pid=%d since=%s rev=%d", name, what, m.Host, m.PID, m.Since.Format(time.RFC3339), m.Rev)
	if m.Unkilled > 0 {
		fmt.Fprintf(&b, " unkilled=%d", m.Unkilled)
	}
	cli.LogField(&b, "ask", m.Ask)
	cli.LogField(&b, "value", m.Value)
	return cli.OneLine(b.String())
}

func (o *options) sayWho(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, pool keys.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	p, err := hold.ReadPool(ctx, c, pool)
	if err != nil {
		return err
	}
	all, _ := everybody(p, nil)
	s := semaphoreJSON{Name: pool.Name, Max: p.Cap, Holders: []memberJSON{}, Waiters: []memberJSON{}}
	for _, m := range all {
		if m.State == hold.Waiting {
			s.Waiters = append(s.Waiters, m)
		} else {
			s.Holders = append(s.Holders, m)
		}
	}
	switch {
	case o.output == wrap.OutputValue:
		return sayValues(stdio, s.Holders)
	case o.json:
		if err := stdio.JSON(s); err != nil {
			return err
		}
		all = nil
	}
	for _, m := range all {
		if _, err := fmt.Fprintln(stdio.Out, m.text(pool.Name)); err != nil {
			return err
		}
	}
	if len(s.Holders)+len(s.Waiters) == 0 {
		return cli.No
	}
	return nil
}

// sayValues prints what holders publish, in the order in which they came.
func sayValues(stdio *cli.Stdio, holders []memberJSON) error {
	err := error(cli.No)
	for _, m := range holders {
		if m.Value == "" {
			continue
		}
		if _, err = fmt.Fprintln(stdio.Out, m.Value); err != nil {
			return err
		}
	}
	return err
}

// sayWatch prints who is there, and then what changes: who waits, who holds, who
// has gone.
func (o *options) sayWatch(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, pool keys.Pool) error {
	first, cancel := context.WithTimeout(ctx, o.DialTimeout)
	_, err := hold.ReadPool(first, c, pool) // the first answer is bounded
	cancel()
	if err != nil {
		return err
	}
	known, moved := map[int64]memberJSON{}, map[int64]bool{}
	return hold.WatchPool(ctx, c, pool, func(p hold.PoolLine) error {
		var all []memberJSON
		all, moved = everybody(p, moved)
		now := map[int64]memberJSON{}
		for _, m := range all {
			now[m.Rev] = m
		}
		// Who has gone comes first: who holds then may do so in that one's place.
		for _, rev := range slices.Sorted(maps.Keys(known)) {
			if _, ok := now[rev]; !ok && !moved[rev] {
				if err := o.sayChange(stdio, pool.Name, "gone", known[rev]); err != nil {
					return err
				}
			}
		}
		for _, m := range all {
			if old, ok := known[m.Rev]; !ok || old.State != m.State || old.Unkilled != m.Unkilled || old.Ask != m.Ask {
				if err := o.sayChange(stdio, pool.Name, m.State, m); err != nil {
					return err
				}
			}
		}
		known = now
		return nil
	}, func(h hold.Contact) error {
		return wrap.SayContact(stdio, o.json, wrap.Contact{Name: pool.Name}, h)
	})
}

func (o *options) sayChange(stdio *cli.Stdio, name, event string, m memberJSON) error {
	if o.json {
		return stdio.JSON(eventJSON{name, event, m})
	}
	line := m.text(name)
	if event == "gone" {
		line = cli.OneLine(fmt.Sprintf("%s GONE %s pid=%d rev=%d", name, m.Host, m.PID, m.Rev))
	}
	_, err := fmt.Fprintln(stdio.Out, line)
	return err
}

func (o *options) setCapacity(ctx context.Context, _ *cli.Stdio, c *etcd.Client, pool keys.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	was, err := hold.Resize(ctx, c, pool, o.resize)
	var heavy *hold.TooHeavy
	switch {
	case was == hold.Exclusive:
		return cli.Errorf(cli.Failed, "%s is used with --shared and --exclusive, and has no capacity to change", pool.Name)
	case errors.Is(err, hold.ErrVacant):
		return cli.Errorf(cli.Failed, "%s is not in use: the first who uses it says its --max", pool.Name)
	case errors.As(err, &heavy):
		return cli.Hint(cli.Errorf(cli.Failed, "%s: %w", pool.Name, err), "conch-sema %s --evict rev=%d first", pool.Name, heavy.By.Rev)
	}
	return err
}

func (o *options) sayEvict(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, pool keys.Pool) error {
	meant, err := target(o.evict)
	if err != nil {
		return err
	}
	one, by := !o.all && o.evict != "all", hold.Self(nil).Who()
	short, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	var them []hold.Candidate
	done := "evicted"
	if o.Asks {
		done = "asked"
		them, err = hold.AskAll(short, c, pool, meant, one, by)
	} else {
		them, err = hold.EvictAll(short, c, o.Space, pool, meant, one, by)
	}
	var out io.Writer = stdio.Out
	for _, who := range them {
		if o.json {
			out = io.Discard
			err = errors.Join(err, stdio.JSON(member(who, 0)))
		} else {
			_, perr := fmt.Fprintf(out, "%s: %s %s\n", pool.Name, done, cli.OneLine(who.String()))
			err = errors.Join(err, perr)
		}
	}
	var several *hold.Ambiguous
	switch {
	case errors.Is(err, hold.ErrVacant) && o.evict == "all" && o.json:
		return nil
	case errors.Is(err, hold.ErrVacant) && o.evict == "all":
		return o.SayUnheld(stdio, pool.Name)
	case errors.Is(err, hold.ErrVacant):
		return cli.Errorf(cli.Failed, "%s: there is nobody like %s", pool.Name, o.evict)
	case errors.Is(err, hold.ErrDeaf):
		return wrap.Deaf(pool.Name, err)
	case errors.As(err, &several):
		return cli.Hint(cli.Errorf(cli.Failed, "%s: %s is %d of them: %s; nobody was %s", pool.Name, o.evict, len(several.Meant), addresses(several.Meant), done),
			"--evict rev=%d for one of them, or --all for all", several.Meant[0].Rev)
	case err != nil || !o.Asks:
		return err
	}
	return o.AwaitGone(ctx, out, pool.Name, them, func(ctx context.Context, who hold.Candidate) error {
		return hold.AwaitGoneFrom(ctx, c, pool, who, by)
	})
}

// addresses says how each of several is named that look the same.
func addresses(all []hold.Candidate) string {
	var list []string
	for _, c := range all {
		what := "holds"
		switch {
		case waits(c):
			what = "waits"
		case c.Slot != nil:
			what = fmt.Sprintf("holds slot %d", *c.Slot)
		}
		list = append(list, fmt.Sprintf("rev=%d (%s)", c.Rev, what))
	}
	return strings.Join(list, ", ")
}

// target reads who is to be evicted: a slot's number, HOST:PID, rev= and the
// token, or all.
func target(text string) (func(hold.Candidate) bool, error) {
	if text == "all" {
		return func(hold.Candidate) bool { return true }, nil
	}
	if rev, ok := strings.CutPrefix(text, "rev="); ok {
		if rev, err := strconv.ParseInt(rev, 10, 64); err == nil {
			return func(c hold.Candidate) bool { return c.Rev == rev }, nil
		}
	}
	if slot, err := strconv.Atoi(text); err == nil && slot >= 0 {
		return func(c hold.Candidate) bool { return c.Slot != nil && *c.Slot == slot }, nil
	}
	if i := strings.LastIndexByte(text, ':'); i > 0 {
		if pid, err := strconv.Atoi(text[i+1:]); err == nil {
			return func(c hold.Candidate) bool { return c.Host == text[:i] && c.PID == pid }, nil
		}
	}
	return nil, cli.Usagef("--evict: %q is neither HOST:PID, nor the number of a slot, nor rev=REV, nor all", text)
}

func (o *options) sayOnce(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, pool keys.Pool) error {
	return o.SayOnce(ctx, stdio, c, pool.Name, &o.markers)
}

func (o *options) forgetOnce(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, pool keys.Pool) error {
	return o.ForgetOnce(ctx, stdio, c, pool.Name, &o.markers)
}

// names proposes the semaphores that are in use, to the shell's completion.
func (o *options) names(ctx context.Context, _ *cli.Stdio, words []string, prefix string) []string {
	if len(words) > 0 {
		return nil
	}
	var found []string
	_ = o.Ask(ctx, func(ctx context.Context, c *etcd.Client) error {
		r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
			return m.KV().Get(ctx, o.Space.Pools()+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1000))
		})
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			rest := strings.TrimPrefix(string(kv.Key), o.Space.Pools())
			if n, _, ok := strings.Cut(rest, "/"); ok && n != "" && (len(found) == 0 || found[len(found)-1] != n) {
				found = append(found, n)
			}
		}
		return nil
	})
	return found
}
