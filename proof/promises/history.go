package main

import (
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

// step is an operation on a turn with so many slots: an acquisition with a
// token, or its release.
type step struct {
	token   int64
	release bool
}

// slots is the specification that histories are checked against: a turn is free
// or held by at most so many, and whoever acquires it has a token above all
// earlier ones. A state is the tokens that hold it, and the last one given.
func slots(n int) porcupine.Model {
	type state struct {
		held []int64
		last int64
	}
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, _ any) (bool, any) {
			now, op := s.(state), in.(step)
			i := slices.Index(now.held, op.token)
			switch {
			case op.release:
				return i >= 0, state{slices.DeleteFunc(slices.Clone(now.held), func(t int64) bool { return t == op.token }), now.last}
			case len(now.held) >= n || op.token <= now.last:
				return false, now
			}
			return true, state{append(slices.Clone(now.held), op.token), op.token}
		},
		Equal: func(a, b any) bool {
			x, y := a.(state), b.(state)
			return x.last == y.last && slices.Equal(x.held, y.held)
		},
	}
}

// operations is the history of one office: what each contender saw of its
// turns. A turn was acquired at some instant between the start of conch and the
// first sign of life under it, and given up at some instant after the last one.
// Turns that a named fault has extended are cut short where it struck: what
// they did after that is counted apart.
func (t trial) operations() []porcupine.Operation {
	var ops []porcupine.Operation
	for i, turn := range t.turns {
		sup, last := t.runs[turn.run], turn.to()
		for _, b := range t.blows {
			if b.token == turn.token && b.fault.within != nil {
				last = min(last, b.struck)
			}
		}
		end := int64(math.MaxInt64)
		if sup.to > last {
			end = sup.to
		}
		ops = append(ops,
			porcupine.Operation{ClientId: 2 * i, Input: step{token: turn.token}, Call: sup.from, Return: turn.from()},
			porcupine.Operation{ClientId: 2*i + 1, Input: step{turn.token, true}, Call: last, Return: max(end, last)})
	}
	return ops
}

// linearizable reports whether the operations could have happened one after
// another, each at an instant between its call and its return.
func linearizable(ops []porcupine.Operation, max int) bool {
	return porcupine.CheckOperations(slots(max), ops)
}
