package hold

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Each change is shown, and in order, however fast they come: a line that was
// taken and left at once was taken. Whoever is slow sees how it is in the end.
func TestWatchShowsEachChange(t *testing.T) {
	w := newWorld(t)
	key := w.line.Dir + "x"
	change := func(n int) (last int64) {
		t.Helper()
		for range n {
			ctx := within(t, 20*time.Second)
			if _, err := w.admin.Put(ctx, key, "{}"); err != nil {
				t.Fatal(err)
			}
			r, err := w.admin.Delete(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			last = r.Header.Revision
		}
		return last
	}
	shown := make(chan Line)
	ctx, cancel := context.WithCancel(within(t, 120*time.Second))
	over := make(chan error, 1)
	go func() {
		over <- Watch(ctx, w.c, w.line, func(l Line) error {
			select {
			case shown <- l:
			case <-ctx.Done():
			}
			return nil
		}, func(c Contact) error {
			t.Errorf("%+v, though etcd answers", c)
			return nil
		})
	}()
	next := func() Line {
		t.Helper()
		select {
		case l := <-shown:
			return l
		case <-ctx.Done():
			t.Fatal("nothing more is shown")
		}
		return Line{}
	}
	before := next().Rev
	const few = tooFarBehind / 4
	end := change(few)
	for i := range 2 * few {
		l := next()
		if taken := i%2 == 0; l.Rev <= before || len(l.Candidates) == 1 != taken {
			t.Fatalf("change %d, at revision %d after %d: %d candidates", i, l.Rev, before, len(l.Candidates))
		}
		before = l.Rev
	}
	if before != end {
		t.Errorf("the last is of revision %d, not %d", before, end)
	}
	end = change(2 * tooFarBehind) // nobody looks meanwhile
	n := 0
	for before < end {
		l := next()
		if l.Rev <= before {
			t.Fatalf("revision %d after %d", l.Rev, before)
		}
		before, n = l.Rev, n+1
	}
	if n >= 4*tooFarBehind {
		t.Errorf("all of %d old changes were shown", n)
	}
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
