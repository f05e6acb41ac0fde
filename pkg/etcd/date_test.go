package etcd

import (
	"context"
	"testing"
	"time"

	"conch/pkg/etcdtest"
)

// The interval in which the answer was made does not say more than it says.
func TestOutside(t *testing.T) {
	for _, c := range []struct{ from, to, want time.Duration }{{-1, 1, 0}, {2, 3, 2}, {-3, -2, -2}, {0, 0, 0}} {
		if got := outside(c.from, c.to); got != c.want {
			t.Errorf("%v to %v: %v", c.from, c.to, got)
		}
	}
}

func TestAhead(t *testing.T) {
	srv := etcdtest.Shared(t)
	c, err := Open(t.Context(), Config{Endpoints: []string{srv.Endpoint()}, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, by := range []time.Duration{0, time.Hour, -time.Hour} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		got, err := c.Ahead(ctx, func() time.Time { return time.Now().Add(by) })
		cancel()
		if err != nil || (got-by).Abs() > 30*time.Second {
			t.Errorf("a clock that is ahead by %v is found ahead by %v, %v", by, got, err)
		}
	}
	set := time.Duration(0)
	if by, err := c.Ahead(t.Context(), func() time.Time { set += time.Hour; return time.Now().Add(set) }); err == nil {
		t.Errorf("a clock that is set meanwhile is found ahead by %v", by)
	}
}
