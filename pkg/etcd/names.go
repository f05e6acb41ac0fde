package etcd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/srv"
)

// lookEvery is how often the endpoints are looked up again while none answers.
const lookEvery = 2 * time.Second

// names is where endpoints come from that are looked up.
type names struct {
	mu     sync.Mutex
	looked time.Time
}

// lookAgain looks the endpoints up beside whatever else is done, for none of those
// that are known has answered: members are replaced in the life of a process.
func (n *names) lookAgain(c *Client) {
	if c.cfg.SRV == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.looked) < lookEvery {
		return
	}
	n.looked = time.Now()
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, lookEvery)
		defer cancel()
		found, err := lookupSRV(ctx, c.cfg.SRV, c.cfg.SRVName)
		if err != nil {
			return // what is known stays
		}
		if found, err = canonical(found, c.cfg.aboutTLS()); err == nil {
			c.enlist(found)
		}
	})
}

// enlist makes these endpoints the members. Who is one already stays as it is.
func (c *Client) enlist(endpoints []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.list()
	next := &roster{replaced: make(chan struct{})}
	for _, e := range endpoints {
		i := slices.IndexFunc(had.members, func(m *Member) bool { return m.Endpoint == e })
		switch {
		case slices.ContainsFunc(next.members, func(m *Member) bool { return m.Endpoint == e }): // it is there twice
		case i >= 0:
			next.members = append(next.members, had.members[i])
		default:
			next.members = append(next.members, newMember(c, e))
		}
	}
	gone := slices.DeleteFunc(slices.Clone(had.members), func(m *Member) bool { return slices.Contains(next.members, m) })
	if len(gone) == 0 && len(next.members) == len(had.members) {
		return
	}
	c.gone = append(c.gone, gone...)
	c.roster.Store(next)
	close(had.replaced)
}

// lookupSRV is srv.GetClient within ctx, which the library does not take.
func lookupSRV(ctx context.Context, domain, name string) ([]string, error) {
	type result struct {
		c   *srv.SRVClients
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := srv.GetClient("etcd-client", domain, name)
		done <- result{c, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		for i, e := range r.c.Endpoints { // the dot that ends a name in DNS does not end one in a certificate
			r.c.Endpoints[i] = strings.Replace(e, ".:", ":", 1)
		}
		return r.c.Endpoints, nil
	case <-ctx.Done():
		return nil, errors.New("no answer from DNS in time")
	}
}
