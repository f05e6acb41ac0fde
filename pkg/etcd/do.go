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

	// Rounds over all members that failed are this far apart.
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
)

type answer[T any] struct {
	value  T
	member int
	err    error
}

// Do asks the preferred member, hedges to the next one when it is slow or at a
// loss, and returns the first answer. It goes on, round after round, until ctx
// ends; so ctx must have a deadline, or be one that somebody ends.
//
// f may run on several members at once and more than once on each; it gets a
// context of its own that ends when Do returns, and must be harmless when its
// effect comes twice, or after another member's.
//
// Errors: *Refused and *ConfigError at once; *Unreachable when ctx ends by its
// deadline; the context's own error when it was cancelled; any other is etcd's
// definite answer.
func Do[T any](ctx context.Context, c *Client, f func(context.Context, *Member) (T, error)) (T, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()

	n := len(c.members)
	answers := make(chan answer[T], n)
	ask := func(i int) {
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			v, err := call(inner, c.members[i], f)
			answers <- answer[T]{v, i, err}
		}()
	}

	var zero T
	var last failure
	probe := c.probeLater(inner)
	defer probe.Stop()
	backoff := backoffMin
	for {
		first := int(c.preferred.Load())
		asked, open := 0, 0
		next := func() { ask((first + asked) % n); asked++; open++ }
		next()
		for open > 0 {
			a, ok := await(inner, answers, asked < n)
			switch {
			case !ok && inner.Err() != nil:
				return zero, c.unreachable(ctx, last, probe)
			case !ok:
				next()
			case a.err == nil:
				c.answered.Store(true)
				c.prefer(a.member)
				return a.value, nil
			default:
				open--
				err, retry := c.classify(a.err)
				if !retry {
					return zero, err
				}
				last.keep(c.members[a.member], err)
				if asked < n {
					next()
				}
			}
		}
		if err := probe.permanent(inner); err != nil {
			return zero, err
		}
		if !sleep(inner, backoff) {
			return zero, c.unreachable(ctx, last, probe)
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// call connects m if need be and puts the question.
func call[T any](ctx context.Context, m *Member, f func(context.Context, *Member) (T, error)) (T, error) {
	if err := m.connect(ctx); err != nil {
		var zero T
		return zero, err
	}
	return f(ctx, m)
}

// await waits for an answer, or, with hedge, for the time to ask one more
// member. ok is false for the latter, and when ctx has ended.
func await[T any](ctx context.Context, answers <-chan answer[T], hedge bool) (_ answer[T], ok bool) {
	var after <-chan time.Time
	if hedge {
		t := time.NewTimer(hedgeAfter)
		defer t.Stop()
		after = t.C
	}
	select {
	case a := <-answers:
		return a, true
	case <-after:
	case <-ctx.Done():
	}
	return answer[T]{}, false
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

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
