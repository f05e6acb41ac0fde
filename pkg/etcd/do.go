package etcd

import (
	"context"
	"errors"
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
	member int
	err    error
}

// Do asks the preferred member, hedges to the next one when it is slow or at a
// loss, and returns the first answer. It goes on asking until ctx ends; so ctx
// must have a deadline, or be one that somebody ends.
//
// f may run on several members at once and more than once on each; it gets a
// context of its own that ends when Do returns, and must be harmless when its
// effect comes twice, or after another member's.
//
// Errors: *Refused and *ConfigError at once; *Unreachable when ctx ends by its
// deadline; the context's own error when it was cancelled; any other is etcd's
// definite answer.
func Do[T any](ctx context.Context, c *Client, f func(context.Context, *Member) (T, error)) (T, error) {
	v, err := c.do(ctx, func(ctx context.Context, m *Member) (any, error) { return f(ctx, m) })
	if err != nil {
		var zero T
		return zero, err
	}
	return v.(T), nil
}

// do is Do without its type, of which the binary need not have a copy for each.
func (c *Client) do(ctx context.Context, f func(context.Context, *Member) (any, error)) (any, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	probe := c.probeLater(inner)
	defer probe.Stop()

	n := len(c.members)
	first := int(c.preferred.Load())
	answers := make(chan answer)
	ask := func(i int) {
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			v, err := call(inner, c.members[i], f)
			select {
			case answers <- answer{v, i, err}:
			case <-inner.Done():
			}
		}()
	}

	var last failure
	failed, backoff := 0, backoffMin
	ask(first)
	next := time.NewTimer(patience(1, n)) // when somebody else is to be asked
	defer next.Stop()
	for asked := 1; ; {
		select {
		case <-next.C:
			ask((first + asked) % n)
			asked++
			next.Reset(patience(asked, n))
		case a := <-answers:
			if a.err == nil {
				c.answered.Store(true)
				c.prefer(a.member)
				return a.value, nil
			}
			err, retry := c.classify(a.err)
			if !retry {
				return nil, err
			}
			last.keep(c.members[a.member], err)
			if failed++; failed%n != 0 {
				next.Reset(0)
				continue
			}
			if err := probe.permanent(inner); err != nil {
				return nil, err
			}
			next.Reset(backoff)
			backoff = min(2*backoff, backoffMax)
		case <-inner.Done():
			return nil, c.unreachable(ctx, last, probe)
		}
	}
}

// patience is how long to wait for an answer after asked questions to n
// members before putting one more.
func patience(asked, n int) time.Duration {
	if asked < n {
		return hedgeAfter
	}
	return askAgain << min(asked-n, 4)
}

// call connects m if need be and puts the question.
func call(ctx context.Context, m *Member, f func(context.Context, *Member) (any, error)) (any, error) {
	if err := m.connect(ctx); err != nil {
		return nil, err
	}
	return f(ctx, m)
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
