package cron

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParsePlacement(t *testing.T) {
	for _, c := range []struct {
		text string
		want Placement
	}{
		{"", Placement{N: 1}},
		{"  ", Placement{N: 1}},
		{"any", Placement{N: 1}},
		{"1", Placement{N: 1}},
		{"1000", Placement{N: 1000}},
		{"all", Placement{All: true}},
		{"role=db", Placement{N: 1, Labels: map[string]string{"role": "db"}}},
		{" all  role=db\tzone=a=b ", Placement{All: true, Labels: map[string]string{"role": "db", "zone": "a=b"}}},
		{"3 all=any", Placement{N: 3, Labels: map[string]string{"all": "any"}}},
	} {
		if got, err := ParsePlacement(c.text); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
}

func TestParsePlacementRefuses(t *testing.T) {
	const notOne = " is not any, all, a number or a label such as role=db"
	for _, c := range []struct{ text, want string }{
		{"alll", `"alll"` + notOne + `: did you mean "all"?`},
		{"All", `"All"` + notOne + `: did you mean "all"?`},
		{"web-1", `"web-1"` + notOne},
		{"-1", `"-1"` + notOne},
		{"0", "0 is not between 1 and 1000"},
		{"1001", "1001 is not between 1 and 1000"},
		{"99999999999999999999", "99999999999999999999 is not between 1 and 1000"},
		{"role=", `"role=" is not a label such as role=db`},
		{"=db", `"=db" is not a label such as role=db`},
		{"a=\xff", `the label "a=\xff" is not printable`},
		{"a=\u200b", `the label "a=\u200b" is not printable`},
		{"a=1 a=2", `the label a is given twice, as "1" and as "2"`},
		{"all any", `"all" and "any" are two counts`},
		{"a=b all", `"all" stands before the labels: "all a=b"`},
		{"a=b c", `"c"` + notOne},
	} {
		got, err := ParsePlacement(c.text)
		if err == nil || err.Error() != c.want || !reflect.DeepEqual(got, Placement{}) {
			t.Errorf("%q: %+v, %v, not %s", c.text, got, err, c.want)
		}
	}
}

// What looks like an operator is refused at the door, and read where it is stored.
func TestPlacementLiterals(t *testing.T) {
	const common = ": give the runners that are meant a label in common, and ask for that"
	for _, c := range []struct{ text, want string }{
		{"role=db,web", `"role=db,web": there is no choice with , or |` + common},
		{"role=db|role=web", `"role=db|role=web": there is no choice with , or |` + common},
		{"web|db", `"web|db": there is no choice with , or |` + common},
		{"role=db,zone=a", `"role=db,zone=a": blanks stand between labels: did you mean "role=db zone=a"?`},
		{"all,role=db", `"all,role=db": blanks stand between labels: did you mean "all role=db"?`},
		{"role!=db", `"role!=db": runners cannot be left out with !: give those that are meant a label, and ask for that`},
		{"role=!db", `"role=!db": runners cannot be left out with !: give those that are meant a label, and ask for that`},
		{"any !gpu", `"!gpu": runners cannot be left out with !: give those that are meant a label, and ask for that`},
		{"role==db", `"role==db": one = is enough: did you mean "role=db"?`},
		{"host=web*", `"host=web*": * is not a pattern here` + common},
	} {
		j := goodJob()
		j.On = c.text
		if err := j.Check(noon); err == nil || err.Error() != "job backup: on: "+c.want {
			t.Errorf("got\n\t%v, not\n\tjob backup: on: %s", err, c.want)
		}
	}
	for _, text := range []string{"role=db,web", "role=!db", "host=web*"} {
		if _, err := ParsePlacement(text); err != nil {
			t.Errorf("a job that is stored cannot be read: %v", err)
		}
	}
}

func TestParseLabels(t *testing.T) {
	got, err := ParseLabels([]string{"role=db", "zone=a=b"})
	if want := map[string]string{"role": "db", "zone": "a=b"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for word, want := range map[string]string{
		"foo":      `"foo" has no value: a label is KEY=VALUE, such as role=db`,
		"all":      `"all" has no value: a label is KEY=VALUE, such as role=db`,
		"role=":    `"role=" is not a label such as role=db`,
		"role=a b": `"role=a b" contains a blank, and no job could ask for it`,
	} {
		if got, err := ParseLabels([]string{word}); err == nil || err.Error() != want || got != nil {
			t.Errorf("got %v, %v, not %s", got, err, want)
		}
	}
	if _, err := ParseLabels([]string{"a=1", "a=2"}); err == nil {
		t.Error("a label was given twice")
	}
}

func TestPlacementMatches(t *testing.T) {
	runner := map[string]string{"role": "db", "zone": "a"}
	for text, want := range map[string]bool{
		"": true, "all": true, "role=db": true, "5 zone=a role=db": true, "role=web": false, "role=db rack=1": false,
	} {
		p, err := ParsePlacement(text)
		if err != nil || p.Matches(runner) != want {
			t.Errorf("%q: %v, %v", text, !want, err)
		}
	}
	if p, _ := ParsePlacement("a=b"); p.Matches(nil) {
		t.Error("a runner without labels is asked for by one")
	}
}

// FuzzPlacement writes down what was read, and reads it again.
func FuzzPlacement(f *testing.F) {
	f.Add("all role=db zone=a=b")
	f.Add("12")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlacement(text)
		if err != nil {
			return
		}
		words := []string{fmt.Sprint(p.N)}
		if p.All {
			words[0] = "all"
		}
		for k, v := range p.Labels {
			words = append(words, k+"="+v)
		}
		again, err := ParsePlacement(strings.Join(words, " "))
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%q is %+v, and then %+v, %v", text, p, again, err)
		}
		if !p.All && (p.N < 1 || p.N > MaxPlaces) || !p.Matches(p.Labels) {
			t.Errorf("%q is %+v", text, p)
		}
	})
}
