package fence

import (
	"fmt"
	"strings"
	"testing"
)

func lookup(env []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, entry := range env {
			if value, ok := strings.CutPrefix(entry, name+"="); ok {
				return value, value != ""
			}
		}
		return "", false
	}
}

// Each conch in a conch adds its hold, whatever else is in the list.
func TestEnclosing(t *testing.T) {
	a := Token{Key: "/conch/v1/elect/a:b@1/7f", Rev: 12, Lease: 127, Cluster: 0xfeed}
	b := Token{Key: "/conch/v1/sema/größe/80", Rev: 13, Lease: 128, Cluster: 0xbeef}
	outer := append(a.Env(), a.Under(lookup([]string{HoldsVar + "=junk 1:2 x:1:/k 1:x:/k 1:2:"})))
	inner := append(b.Env(), b.Under(lookup(outer)))
	bare := func(t Token) Token { t.Lease = 0; return t }
	for _, c := range []struct {
		env  []string
		want []Token
	}{
		{outer, []Token{a}},
		{inner, []Token{b, bare(a)}},
		{b.Env(), []Token{b}}, // of a conch that knew no list
		{inner[len(inner)-1:], []Token{bare(b), bare(a)}},
		{nil, nil},
	} {
		if got := Enclosing(lookup(c.env)); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q: %v, want %v", c.env, got, c.want)
		}
	}
}
