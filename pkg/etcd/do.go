package etcd

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// hedgeAfter is how long a member may take before the next is asked as
	// well. With one of three members black-holed it is what a renewal costs.
	hedgeAfter = 200 * time.Millisecond

	// askAgain is how long nobody may answer before a member is asked once
	// more: what was passed on to a leader that is gone is never answered. It
	// doubles, to sixteen times that.
	askAgain = time.Second

	// A member that failed is asked again after backoffMin, and twice that
	// each time.
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
)

type answer struct {
	value  any
	member *Member
	err    error
}

// Do asks the preferred member, hedges to the next one when it is slow or at a
// loss, and returns the first answer. It goes on asking until ctx ends; so ctx
// must have a deadline, or be one that somebody ends.
//
// f may run on several members at once and more than once on each; it gets a
// context of its own that ends when Do returns, and must be harmless when its
// effect comes twice, or after another member's. Where the cluster is known, a
// member of another is not asked.
//
// Errors: *Refused and *ConfigError at once; *Unfit when no endpoint is fit;
// *Unreachable when ctx ends by its deadline; the context's own error when it was
// cancelled; any other is etcd's definite answer.
func Do[T any](ctx context.Context, c *Client, f func(context.Context, *Member) (T, error)) (T, error) {
	v, err := c.do(ctx, func(ctx context.Context, m *Member) (any, error) {
		if err := m.connect(ctx); err != nil {
			return nil, err
		}
		return vouched(ctx, m, func(ctx context.Context, m *Member) (any, error) { return f(ctx, m) })
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return v.(T), nil
}

// do is Do without its type, of which the binary need not have a copy for each, and
// without a connection.
func (c *Client) do(ctx context.Context, f func(context.Context, *Member) (any, error)) (any, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	probe := c.probeLater(inner)
	defer probe.Stop()

	r := round{c: c, now: c.list(), first: c.preferred.Load(), answers: make(chan answer), backoff: backoffMin, probe: probe}
	r.ask(inner, f)
	r.next = time.NewTimer(r.patience()) // when somebody else is to be asked
	defer r.next.Stop()
	for {
		select {
		case <-r.next.C:
			if r.asked >= len(r.now.members) {
				c.names.lookAgain(c)
			}
			r.ask(inner, f)
			r.next.Reset(r.patience())
		case <-r.now.replaced:
			r.now, r.failed = c.list(), 0
			r.next.Reset(0)
		case a := <-r.answers:
			if a.err == nil {
				c.answered.Store(true)
				c.prefer(a.member)
				return a.value, nil
			}
			if err := r.fail(inner, a); err != nil {
				return nil, err
			}
		case <-inner.Done():
			return nil, c.unreachable(ctx, r.last, probe)
		}
	}
}

// round is one question to the members, one after the other.
type round struct {
	c       *Client
	now     *roster
	first   *Member
	asked   int
	failed  int
	answers chan answer
	next    *time.Timer
	backoff time.Duration
	probe   *probe
	last    failure
	unfit   []*Member // whose last word was that
}

// ask puts the question to the next member.
func (r *round) ask(ctx context.Context, f func(context.Context, *Member) (any, error)) {
	members := r.now.members
	m := members[(max(slices.Index(members, r.first), 0)+r.asked)%len(members)]
	r.asked++
	r.c.wg.Add(1)
	go func() {
		defer r.c.wg.Done()
		v, err := f(ctx, m)
		select {
		case r.answers <- answer{v, m, err}:
		case <-ctx.Done():
		}
	}()
}

// fail acts on an answer that is an error, and returns it, or what was found out
// about it, if it is definite.
func (r *round) fail(ctx context.Context, a answer) error {
	err, retry := r.c.classify(a.err)
	if !retry {
		return err
	}
	r.last.keep(a.member, err)
	if tell, ok := ctx.Value(failureKey{}).(func(error)); ok {
		tell(err)
	}
	r.unfit = slices.DeleteFunc(r.unfit, func(m *Member) bool { return m == a.member })
	if errors.As(err, new(*Unfit)) {
		r.unfit = append(r.unfit, a.member)
	}
	if !slices.ContainsFunc(r.now.members, func(m *Member) bool { return !slices.Contains(r.unfit, m) }) {
		var other *OtherCluster
		if !r.c.cfg.Observer || !errors.As(err, &other) {
			return err
		}
		r.c.Adopt(other.Cluster)
	}
	if r.failed++; r.failed%len(r.now.members) != 0 {
		r.next.Reset(0)
		return nil
	}
	r.c.names.lookAgain(r.c)
	if err := r.probe.permanent(ctx); err != nil {
		return err
	}
	r.next.Reset(r.backoff)
	r.backoff = min(2*r.backoff, backoffMax)
	return nil
}

type failureKey struct{}

// OnFailure returns a context for Do in which tell hears of each answer that is an
// error and may pass, while Do goes on asking. It must not block.
func OnFailure(ctx context.Context, tell func(error)) context.Context {
	return context.WithValue(ctx, failureKey{}, tell)
}

// patience is how long to wait for an answer before putting one more question.
func (r *round) patience() time.Duration {
	if n := len(r.now.members); r.asked >= n {
		return askAgain << min(r.asked-n, 4)
	}
	return hedgeAfter
}

// failure is the last thing that went wrong with a member, for the message.
type failure struct {
	endpoint string
	err      error
}

// keep remembers err, unless it only says that time ran out and something
// better is known.
func (f *failure) keep(m *Member, err error) {
	if f.err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return
	}
	f.endpoint, f.err = m.Endpoint, err
}
