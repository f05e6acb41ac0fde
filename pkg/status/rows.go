package status

import "slices"

// rows are records in the order of cmp. A hundred thousand cost a pointer each
// beside themselves, and come in order when they are read.
type rows[T any] struct {
	all []*T
	cmp func(a, b *T) int
}

func (r *rows[T]) find(v *T) (int, bool) {
	if n := len(r.all); n > 0 && r.cmp(r.all[n-1], v) < 0 {
		return n, false
	}
	return slices.BinarySearchFunc(r.all, v, r.cmp)
}

// get returns the record that is equal to v, or nil.
func (r *rows[T]) get(v *T) *T {
	if i, ok := r.find(v); ok {
		return r.all[i]
	}
	return nil
}

// put adds v, in the place of the record that is equal to it.
func (r *rows[T]) put(v *T) {
	i, ok := r.find(v)
	if ok {
		r.all[i] = v
	} else {
		r.all = slices.Insert(r.all, i, v)
	}
}

// drop removes the record that is equal to v.
func (r *rows[T]) drop(v *T) {
	if i, ok := r.find(v); ok {
		r.all = slices.Delete(r.all, i, i+1)
	}
}
