package jobfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readJSON returns the values that stand in a file one after another.
func readJSON(b []byte) ([]*node, error) {
	d := &jsonReader{text: b, line: 1, dec: json.NewDecoder(bytes.NewReader(b))}
	d.dec.UseNumber()
	var all []*node
	for {
		n, err := d.value(0)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, d.place(err)
		}
		all = append(all, n)
	}
}

type jsonReader struct {
	text []byte
	dec  *json.Decoder
	seen int // bytes, in which the lines are counted
	line int // at seen
}

// at counts the lines up to an offset that is not before the last one.
func (d *jsonReader) at(offset int) int {
	d.line += bytes.Count(d.text[d.seen:offset], []byte("\n"))
	d.seen = offset
	return d.line
}

// place says where err is.
func (d *jsonReader) place(err error) error {
	offset := int(d.dec.InputOffset())
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		// It is that of the character, or behind it: this matters for a newline.
		offset = max(0, min(int(syntax.Offset), len(d.text)))
		if strings.Contains(err.Error(), `'\n'`) && bytes.HasSuffix(d.text[:offset], []byte("\n")) {
			offset--
		}
		err = fmt.Errorf("not JSON: %w", err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		offset, err = len(bytes.TrimRight(d.text, " \t\r\n")), errors.New("not JSON: it ends in the middle of a value")
	}
	return &Error{Line: 1 + bytes.Count(d.text[:offset], []byte("\n")), Err: err}
}

func (d *jsonReader) value(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values lie more than %d deep", maxDepth)
	}
	token, err := d.dec.Token()
	if err == io.EOF && depth > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	n := &node{line: d.at(int(d.dec.InputOffset()))}
	switch v := token.(type) {
	case json.Delim:
		n.kind = list
		if v == '{' {
			n.kind = mapping
		}
		return n, d.inside(n, depth+1)
	case string:
		n.kind, n.text = text, v
	case json.Number:
		n.kind, n.text = number, v.String()
	case bool:
		n.kind, n.text = boolean, fmt.Sprint(v)
	default:
		n.text = "null"
	}
	return n, nil
}

// inside reads the rest of a list or mapping.
func (d *jsonReader) inside(n *node, depth int) error {
	for d.dec.More() {
		if n.kind == mapping {
			key, err := d.value(depth)
			if err != nil {
				return err
			}
			n.keys = append(n.keys, key)
		}
		item, err := d.value(depth)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := d.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
