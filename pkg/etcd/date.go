package etcd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"conch/pkg/clock"
)

// Date returns the member's wall clock, in whole seconds, by the header of an
// HTTP answer: that needs no user, and writes nothing.
func (m *Member) Date(ctx context.Context) (time.Time, error) {
	conn, err := m.dialRaw(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	if d, ok := ctx.Deadline(); ok {
		conn.SetDeadline(d)
	}
	if m.secure() {
		conn = tls.Client(conn, m.tlsConfig())
	}
	if _, err := fmt.Fprint(conn, versionRequest); err != nil {
		return time.Time{}, err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return time.Time{}, err
	}
	defer r.Body.Close()
	return http.ParseTime(r.Header.Get("Date"))
}

// Ahead returns by how much the wall clock now is ahead of that of a member of
// etcd, less than 0 if it is behind, as far as the member's answer can tell: that
// gives whole seconds, and took its time. It is an error if now was set meanwhile.
func (c *Client) Ahead(ctx context.Context, now func() time.Time) (time.Duration, error) {
	return Do(ctx, c, func(ctx context.Context, m *Member) (time.Duration, error) {
		sent, from := now().Round(0), clock.System{}.Now()
		date, err := m.Date(ctx)
		if err != nil {
			return 0, err
		}
		got, took := now().Round(0), clock.System{}.Now().Sub(from)
		if (got.Sub(sent) - took).Abs() > time.Second {
			return 0, &Final{Err: errSet}
		}
		return outside(sent.Sub(date.Add(time.Second)), got.Sub(date)), nil
	})
}

var errSet = errors.New("the clock was set while it was compared")

// outside is how far an interval lies from 0.
func outside(from, to time.Duration) time.Duration {
	switch {
	case from > 0:
		return from
	case to < 0:
		return to
	}
	return 0
}
