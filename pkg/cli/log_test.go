package cli

import (
	"strings"
	"testing"
)

func TestLogField(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"", ""},
		{"plain", " f=plain"},
		{"größe", " f=größe"},
		{"two words", ` f="two words"`},
		{"a=b", ` f="a=b"`},
		{`say"so`, ` f="say\"so"`},
		{"line\nevent=forged", ` f="line\nevent=forged"`},
		{"tab\t", ` f="tab\t"`},
		{`back\slash`, ` f="back\\slash"`},
	} {
		var b strings.Builder
		if LogField(&b, "f", c.value); b.String() != c.want {
			t.Errorf("%q: %s; want %s", c.value, b.String(), c.want)
		}
	}
}
