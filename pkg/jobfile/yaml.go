package jobfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML returns the documents of a file, without the empty ones.
func readYAML(b []byte) (all []*node, err error) {
	y := &yamlReader{}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, quoteYAML(b, placeYAML(err))
		}
		n, err := y.value(&doc, 0)
		if err != nil {
			return nil, quoteYAML(b, err)
		}
		if n.kind != null {
			all = append(all, n)
		}
	}
}

// placeYAML takes the line out of an error of the library, where it has one.
func placeYAML(err error) error {
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(what, "line "); ok {
		if digits, rest, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				line, what = n, rest
			}
		}
	}
	return &Error{Line: line, Err: errors.New("not YAML: " + what)}
}

type yamlReader struct{ nodes int }

// value copies what y has, with aliases replaced. The bounds are what ends an
// alias of itself, and a few lines that stand for billions.
func (r *yamlReader) value(y *yaml.Node, depth int) (*node, error) {
	fail := func(format string, a ...any) (*node, error) {
		return nil, &Error{Line: y.Line, Err: fmt.Errorf(format, a...)}
	}
	r.nodes++
	switch {
	case depth > maxDepth:
		return fail("values lie more than %d deep", maxDepth)
	case r.nodes > maxNodes:
		return fail("these are more than %d values: are aliases nested?", maxNodes)
	}
	n := &node{line: y.Line}
	switch y.Kind {
	case yaml.DocumentNode:
		return r.value(y.Content[0], depth)
	case yaml.AliasNode:
		return r.value(y.Alias, depth+1)
	case yaml.ScalarNode:
		n.text, n.plain = y.Value, y.Style&^yaml.TaggedStyle == 0
	}
	var known bool
	if n.kind, known = kinds[y.ShortTag()]; !known {
		return fail("%s is a tag that has no meaning here", y.Tag)
	}
	switch y.Kind {
	case yaml.SequenceNode:
		n.kind = list
		return n, r.items(n, y, depth+1)
	case yaml.MappingNode:
		n.kind = mapping
		return n, r.pairs(n, y, depth+1)
	}
	return n, nil
}

var kinds = map[string]kind{
	"!!null": null, "!!bool": boolean, "!!int": number, "!!float": number, "!!str": text, "!!timestamp": text,
	"!!seq": list, "!!map": mapping, "!!merge": text,
}

func (r *yamlReader) items(n *node, y *yaml.Node, depth int) error {
	for _, content := range y.Content {
		item, err := r.value(content, depth)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	return nil
}

// pairs reads a mapping. What a key << merges comes behind, where the mapping
// itself does not have it.
func (r *yamlReader) pairs(n *node, y *yaml.Node, depth int) error {
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, err := r.value(y.Content[i], depth)
		if err != nil {
			return err
		}
		item, err := r.value(y.Content[i+1], depth)
		switch {
		case err != nil:
			return err
		case key.kind == list || key.kind == mapping:
			return &Error{Line: key.line, Err: errors.New("a name is a word, not " + key.kind.String())}
		case y.Content[i].ShortTag() == "!!merge" && item.kind == list:
			merged = append(merged, item.items...)
		case y.Content[i].ShortTag() == "!!merge":
			merged = append(merged, item)
		default:
			n.keys, n.items = append(n.keys, key), append(n.items, item)
		}
	}
	return n.merge(merged)
}

func (n *node) merge(all []*node) error {
	if len(all) == 0 {
		return nil
	}
	has := map[string]bool{}
	for _, key := range n.keys {
		has[key.text] = true
	}
	for _, from := range all {
		if from.kind != mapping {
			return &Error{Line: from.line, Err: fmt.Errorf("<< merges mappings, not %s", from.kind)}
		}
		for i, key := range from.keys {
			if !has[key.text] {
				has[key.text] = true
				n.keys, n.items = append(n.keys, key), append(n.items, from.items[i])
			}
		}
	}
	return nil
}
