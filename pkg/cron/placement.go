package cron

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxPlaces is on how many runners a job can ask to run at most, other than all.
const MaxPlaces = 1000

// Placement says on how many runners each tick of a job runs, and on which.
type Placement struct {
	All    bool
	N      int               // unless All; 1: any
	Labels map[string]string // all of which a runner must have
}

// ParsePlacement reads what Job.On takes: "any", "all" or a number, then labels:
// "all role=db zone=a". Without the first it is any.
func ParsePlacement(text string) (Placement, error) {
	p := Placement{N: 1}
	for i, word := range strings.Fields(text) {
		var err error
		switch key, value, isLabel := strings.Cut(word, "="); {
		case isLabel:
			err = p.label(key, value)
		case i == 0:
			err = p.count(word)
		default:
			err = misplaced(text, word)
		}
		if err != nil {
			return Placement{}, err
		}
	}
	return p, nil
}

// LabelsText returns the labels as they stand in Job.On, by their names.
func (p Placement) LabelsText() string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(p.Labels)) {
		words = append(words, key+"="+p.Labels[key])
	}
	return strings.Join(words, " ")
}

// Matches reports whether a runner with these labels is one that p asks for.
func (p Placement) Matches(labels map[string]string) bool {
	for key, value := range p.Labels {
		if has, ok := labels[key]; !ok || has != value {
			return false
		}
	}
	return true
}

// Placed reports whether one of the runners takes what p says, and does not stand by.
func (p Placement) Placed(nodes []Node) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Takes(p) && n.Standby == "" })
}

// Takes reports whether a runner is one that p asks for, and is not about to end. While
// it stands by it is, for that may be over within the deadline of a tick.
func (n *Node) Takes(p Placement) bool { return !n.Draining && p.Matches(n.Labels) }

func (p *Placement) count(word string) error {
	switch word {
	case "any":
		return nil
	case "all":
		p.All, p.N = true, 0
		return nil
	}
	if strings.Trim(word, "0123456789") != "" {
		return notPlacement(word)
	}
	n, err := strconv.Atoi(word)
	if err != nil || n < 1 || n > MaxPlaces {
		return fmt.Errorf("%s is not between 1 and %d", word, MaxPlaces)
	}
	p.N = n
	return nil
}

func (p *Placement) label(key, value string) error {
	if key == "" || value == "" {
		return fmt.Errorf("%q is not a label such as role=db", key+"="+value)
	}
	if s := key + value; !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("the label %+q is not printable", key+"="+value)
	}
	if had, ok := p.Labels[key]; ok {
		return fmt.Errorf("the label %s is given twice, as %q and as %q", key, had, value)
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[key] = value
	return nil
}

// ParseLabels reads the labels of a runner, KEY=VALUE each.
func ParseLabels(words []string) (map[string]string, error) {
	var p Placement
	for _, word := range words {
		key, value, isLabel := strings.Cut(word, "=")
		switch {
		case !isLabel:
			return nil, fmt.Errorf("%+q has no value: a label is KEY=VALUE, such as role=db", word)
		case strings.ContainsFunc(word, unicode.IsSpace):
			return nil, fmt.Errorf("%+q contains a blank, and no job could ask for it", word)
		}
		if err := p.label(key, value); err != nil {
			return nil, err
		}
	}
	return p.Labels, nil
}

// checkLiterals refuses what looks like more than a label, and would be taken as it
// stands: no runner is called that.
func (p Placement) checkLiterals(text string) error {
	for _, word := range strings.Fields(text) {
		switch key, value, isLabel := strings.Cut(word, "="); {
		case isLabel && strings.HasPrefix(value, "="):
			return fmt.Errorf("%+q: one = is enough: did you mean %+q?", word, key+value)
		case strings.Contains(word, ",") && isPlacement(strings.ReplaceAll(word, ",", " ")):
			return fmt.Errorf("%+q: blanks stand between labels: did you mean %+q?", word, strings.ReplaceAll(word, ",", " "))
		case strings.Contains(word, "!"):
			return fmt.Errorf("%+q: runners cannot be left out with !: give those that are meant a label, and ask for that", word)
		case strings.ContainsAny(word, ",|"):
			return fmt.Errorf("%+q: there is no choice with , or |: give the runners that are meant a label in common, and ask for that", word)
		case strings.Contains(word, "*"):
			return fmt.Errorf("%+q: * is not a pattern here: give the runners that are meant a label in common, and ask for that", word)
		}
	}
	return nil
}

func isPlacement(text string) bool {
	p, err := ParsePlacement(text)
	return err == nil && p.checkLiterals(text) == nil
}

// misplaced says why a word that is no label cannot stand after the first.
func misplaced(text, word string) error {
	words := strings.Fields(text)
	var p Placement
	if p.count(word) != nil {
		return notPlacement(word)
	}
	if !strings.Contains(words[0], "=") {
		return fmt.Errorf("%q and %q are two counts", words[0], word)
	}
	return fmt.Errorf("%q stands before the labels: %q", word, word+" "+words[0])
}

func notPlacement(word string) error {
	return fmt.Errorf("%q is not any, all, a number or a label such as role=db%s", word, DidYouMean(word, []string{"any", "all"}))
}
