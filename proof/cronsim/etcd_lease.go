package main

import (
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Grant makes a lease, which lives until Revoke. Errors: rpctypes.ErrNoSpace,
// ErrDuplicate of leases.
func (e *etcdModel) Grant(id int64) error {
	e.entries++
	_, there := e.leases[id]
	switch {
	case e.full:
		return rpctypes.ErrNoSpace
	case there:
		return rpctypes.ErrLeaseExist
	}
	e.leases[id] = nil
	return nil
}

// HasLease reports whether a lease lives: a backup may have brought it back, or not know
// it.
func (e *etcdModel) HasLease(id int64) bool {
	_, there := e.leases[id]
	return there
}

// Revoke ends a lease, and deletes its keys, which is one change. One that is not there
// is no matter.
func (e *etcdModel) Revoke(id int64) {
	e.entries++
	w := writer{e: e}
	for _, key := range slices.Clone(e.leases[id]) {
		if i, found := search(e.keys, []byte(key)); found {
			w.delete(e.keys[i])
		}
	}
	w.end()
	delete(e.leases, id)
}

// attach makes a key one of a lease's, and no other's; 0 is no lease.
func (e *etcdModel) attach(key string, was, is int64) {
	if was == is {
		return
	}
	if i, found := slices.BinarySearch(e.leases[was], key); found {
		e.leases[was] = slices.Delete(e.leases[was], i, i+1)
	}
	if i, found := slices.BinarySearch(e.leases[is], key); is != 0 && !found {
		e.leases[is] = slices.Insert(e.leases[is], i, key)
	}
}
