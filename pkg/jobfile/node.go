package jobfile

import "fmt"

// A node is a value in a file, JSON or YAML, that is not yet known to be a job.
type node struct {
	kind  kind
	line  int
	text  string  // of a scalar, as it is written
	plain bool    // written so that whoever reads it decides what it is: YAML without quotes
	keys  []*node // of a mapping
	items []*node // of a list; of a mapping, one for each key
}

type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	list
	mapping
)

func (k kind) String() string {
	return [...]string{"nothing", "true or false", "a number", "text", "a list", "a mapping"}[k]
}

// get returns the value of a key, or nil.
func (n *node) get(key string) *node {
	for i, k := range n.keys {
		if k.text == key {
			return n.items[i]
		}
	}
	return nil
}

// String is the node as it can stand in a message.
func (n *node) String() string {
	switch {
	case n.kind == text && !n.plain:
		return fmt.Sprintf("%+.64q", n.text)
	case n.kind <= text && n.text != "":
		return fmt.Sprintf("%.64s", n.text)
	}
	return n.kind.String()
}

// Bounds of what is read. A job is six deep, and has some ten values.
const (
	maxSize  = 8 << 20 // bytes of a file
	maxDepth = 32
	maxNodes = 2_000_000 // values, those that an alias stands for counted each time
)
