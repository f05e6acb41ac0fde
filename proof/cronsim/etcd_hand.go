package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// etcdHand lets cron.Store's own code work on the model: what people do to jobs. Unlike
// Store it does not check its clock: see cron.WrongClock.
type etcdHand struct {
	e     doer
	clock func() time.Time // on its machine
	// before, if not nil, is called before each request; what others do meanwhile is done
	// there. It says what becomes of the request.
	before func() fate
	ids    int
}

// doer is etcdModel, or a real etcd to compare it with.
type doer interface {
	Do(clientv3.Op) (clientv3.OpResponse, error)
}

// fate is what becomes of a request on its way.
type fate int

const (
	answered fate = iota
	twice         // carried out, asked again because the answer was lost, and that answered
	unheard       // carried out, and nobody hears of it
	undone        // lost on its way to etcd
)

// errLost: nobody knows whether the request was carried out.
var errLost = &etcd.Unreachable{Endpoint: "the model", Cause: context.DeadlineExceeded}

// store returns what the hand works with.
func (h *etcdHand) store(k keys.Cron) cron.Store { return cron.Store{Keys: k, Stage: h} }

// Do is cron.Stage's.
func (h *etcdHand) Do(_ context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	is := answered
	if h.before != nil {
		is = h.before()
	}
	if is == undone {
		return clientv3.OpResponse{}, errLost
	}
	r, err := h.e.Do(op)
	switch is {
	case twice:
		return h.e.Do(op)
	case unheard:
		return clientv3.OpResponse{}, errLost
	}
	return r, err
}

// Now is cron.Stage's.
func (h *etcdHand) Now() time.Time { return h.clock() }

// ID is cron.Stage's.
func (h *etcdHand) ID() string {
	h.ids++
	return fmt.Sprintf("%08x", h.ids)
}
