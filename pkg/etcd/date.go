package etcd

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"
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
	if strings.HasPrefix(m.Endpoint, "https:") || strings.HasPrefix(m.Endpoint, "unixs:") {
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
