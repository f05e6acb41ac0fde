package elect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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
type query func(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error

// ask puts the question.
func (o *options) ask(ctx context.Context, stdio *cli.Stdio, office keys.Line, q query) error {
	return o.Ask(ctx, func(ctx context.Context, c *etcd.Client) error { return q(ctx, stdio, c, office) })
}

// list reads the line within --dial-timeout.
func (o *options) list(ctx context.Context, c *etcd.Client, office keys.Line) (hold.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	return hold.List(ctx, c, office)
}

// holderJSON is a holder in --json output. The first four fields are as the
// reference has them.
type holderJSON struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Cmd     string    `json:"cmd"`
	Office  string    `json:"office"`
	User    string    `json:"user"`
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Rev     int64     `json:"rev"`
	Lease   string    `json:"lease"`
	Key     string    `json:"key"`
	Waiters int       `json:"waiters"`
	Value   string    `json:"value,omitempty"` // what it publishes
	Ask     string    `json:"ask,omitempty"`   // who has asked for the hold

	Unkilled int `json:"unkilled,omitempty"`
}

func describe(office string, l hold.Line, h hold.Candidate) holderJSON {
	state := h.State
	if state == "" {
		state = hold.Held
	}
	return holderJSON{h.Host, h.PID, h.Started, h.Cmd, office, h.User, state, h.Begun(), h.Rev, keys.Hex(h.Lease), h.Key, len(l.Candidates) - 1, h.Published(), h.Ask, h.Unkilled}
}

// text is a holder as one line for people.
func text(office string, h hold.Candidate) string {
	since := "unknown"
	if t := h.Begun(); !t.IsZero() {
		since = t.Format(time.RFC3339)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s pid=%d since=%s rev=%d", office, h.Host, h.PID, since, h.Rev)
	if h.Unkilled > 0 {
		fmt.Fprintf(&b, " unkilled=%d", h.Unkilled)
	}
	cli.LogField(&b, "ask", h.Ask)
	cli.LogField(&b, "value", h.Published())
	return cli.OneLine(b.String())
}

func (o *options) sayWho(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	l, err := o.list(ctx, c, office)
	if err != nil {
		return err
	}
	h, ok := l.Holder()
	switch {
	case !ok:
		return cli.No
	case o.output == wrap.OutputValue && h.Published() == "":
		return cli.No
	case o.output == wrap.OutputValue:
		_, err = fmt.Fprintln(stdio.Out, h.Published())
		return err
	case o.json:
		return stdio.JSON(describe(office.Name, l, h))
	}
	_, err = fmt.Fprintln(stdio.Out, text(office.Name, h))
	return err
}

// vacant is the line of --watch --json and --evict --json for an office without a
// holder.
type vacant struct {
	Office string `json:"office"`
	Leader any    `json:"leader"` // null
}

func (o *options) sayWatch(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	if _, err := o.list(ctx, c, office); err != nil { // the first answer is bounded
		return err
	}
	said := int64(-1) // revision of the holder last shown; 0: vacant
	unkilled := 0     // what was said of that with it, ...
	ask := ""         // ... and this
	return hold.Watch(ctx, c, office, func(l hold.Line) error {
		h, ok := l.Holder()
		switch {
		case h.Rev == said && ok && h.Unkilled == unkilled && h.Ask == ask, !ok && said == 0:
			return nil
		case o.output == wrap.OutputValue && ok && h.Rev == said:
			return nil
		case o.output == wrap.OutputValue: // an empty line for nothing
			said = h.Rev
			_, err := fmt.Fprintln(stdio.Out, h.Published())
			return err
		case !ok && o.json:
			said = 0
			return stdio.JSON(vacant{Office: office.Name})
		case !ok:
			said = 0
			_, err := fmt.Fprintln(stdio.Out, office.Name, "-")
			return err
		}
		said, unkilled, ask = h.Rev, h.Unkilled, h.Ask
		if o.json {
			return stdio.JSON(describe(office.Name, l, h))
		}
		_, err := fmt.Fprintln(stdio.Out, text(office.Name, h))
		return err
	}, func(h hold.Contact) error {
		if o.output == wrap.OutputValue { // nothing else stands among the values
			aside := *stdio
			aside.Out = stdio.Err
			return wrap.SayContact(&aside, false, wrap.Contact{Office: office.Name}, h)
		}
		said = -1 // who holds is said again
		return wrap.SayContact(stdio, o.json, wrap.Contact{Office: office.Name}, h)
	})
}

// asserted is --assert --json's answer.
type asserted struct {
	Held bool   `json:"held"`
	Rev  int64  `json:"rev"`
	Host string `json:"host"`
}

func (o *options) sayAssert(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	l, err := o.list(ctx, c, office)
	if err != nil {
		return err
	}
	h, ok := l.Holder()
	a := asserted{Rev: h.Rev, Host: h.Host}
	switch {
	case !ok, h.State == hold.Lingering:
	case o.token > 0:
		a.Held = uint64(h.Rev) == o.token
	default:
		host, err := os.Hostname()
		a.Held = err == nil && h.Host == host
	}
	a.Held = a.Held && uint64(h.Rev) >= o.minRev
	if o.json {
		if err := stdio.JSON(a); err != nil {
			return err
		}
	}
	if !a.Held {
		return cli.No
	}
	return nil
}

func (o *options) sayEvict(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	by := hold.Self(nil).Who()
	short, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	var who hold.Candidate
	var err error
	done := "evicted"
	if o.Asks {
		done = "asked"
		who, err = hold.Ask(short, c, office, by)
	} else {
		who, err = hold.Evict(short, c, o.Space, office, by)
	}
	var out io.Writer = stdio.Out
	switch {
	case errors.Is(err, hold.ErrVacant) && o.json:
		return stdio.JSON(vacant{Office: office.Name})
	case errors.Is(err, hold.ErrVacant):
		return o.SayUnheld(stdio, office.Name)
	case errors.Is(err, hold.ErrDeaf):
		return wrap.Deaf(office.Name, err)
	case err != nil:
		return err
	case o.json:
		out = io.Discard
		err = stdio.JSON(describe(office.Name, hold.Line{Candidates: []hold.Candidate{who}}, who))
	default:
		_, err = fmt.Fprintf(out, "%s: %s %s\n", office.Name, done, cli.OneLine(who.String()))
	}
	if err != nil || !o.Asks {
		return err
	}
	return o.AwaitGone(ctx, out, office.Name, []hold.Candidate{who}, func(ctx context.Context, who hold.Candidate) error {
		return hold.AwaitGone(ctx, c, office, who, by)
	})
}

func (o *options) sayOnce(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	return o.SayOnce(ctx, stdio, c, office.Name, &o.markers)
}

func (o *options) forgetOnce(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, office keys.Line) error {
	return o.ForgetOnce(ctx, stdio, c, office.Name, &o.markers)
}

// names proposes the offices that somebody holds, to the shell's completion.
func (o *options) names(ctx context.Context, _ *cli.Stdio, words []string, prefix string) []string {
	if len(words) > 0 {
		return nil
	}
	c, err := o.Open(ctx)
	if err != nil {
		return nil
	}
	defer c.Close()
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
		return m.KV().Get(ctx, o.Space.Offices()+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1000))
	})
	if err != nil {
		return nil
	}
	var found []string
	for _, kv := range r.Kvs {
		if n, ok := o.Space.OfficeOf(string(kv.Key)); ok && strings.HasPrefix(n, prefix) {
			found = append(found, n)
		}
	}
	return slices.Compact(found)
}
