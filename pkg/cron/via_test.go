package cron

import (
	"net/url"
	"strconv"
	"testing"
)

func TestParseVia(t *testing.T) {
	for text, want := range map[string]Via{
		"ssh://web-1":               {Host: "web-1"},
		"ssh://deploy@web-1.x:2222": {"deploy", "web-1.x", 2222},
		"ssh://10.0.0.1":            {Host: "10.0.0.1"},
		"ssh://a.b@[fe80::1]":       {User: "a.b", Host: "fe80::1"},
		"ssh://[fe80::1%eth0]:22":   {Host: "fe80::1%eth0", Port: 22},
	} {
		if got, err := ParseVia(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, c := range []struct{ text, hint string }{
		{"", ""},
		{"web-1", "ssh://web-1"},
		{"deploy@web-1:22", "ssh://deploy@web-1:22"},
		{"http://web-1", "ssh://web-1"},
		{"SSH://web-1/", "ssh://web-1"},
		{"ssh://web-1/", "ssh://web-1"},
		{"ssh://web-1/x", ""},
		{"ssh://", ""},
		{"ssh://@web-1", ""},
		{"ssh://-oProxyCommand=x", ""},
		{"ssh://-x", ""},
		{"ssh://-x@web-1", ""},
		{"ssh://a:b@web-1", ""},
		{"ssh://$(x)@web-1", ""},
		{"ssh://web-1:", ""},
		{"ssh://web-1:0", ""},
		{"ssh://web-1:65536", ""},
		{"ssh://web-1:+22", ""},
		{"ssh://web 1", ""},
		{"ssh://web-1;x", ""},
		{"ssh://$(x)", ""},
		{"ssh://[web-1]", ""},
		{"ssh://[10.0.0.1]", ""},
		{"ssh://[fe80::1", ""},
		{"ssh://[fe80::1]x", ""},
		{"ssh://[fe80::1%;x]", ""},
		{"ssh://fe80::1", ""},
	} {
		want := strconv.Quote(c.text) + " is not ssh://[USER@]HOST[:PORT]"
		if c.hint != "" {
			want += `: did you mean "` + c.hint + `"?`
		}
		if got, err := ParseVia(c.text); err == nil || err.Error() != want || got != (Via{}) {
			t.Errorf("%q: %+v, %v, not %s", c.text, got, err, want)
		}
	}
}

// FuzzVia compares what is taken with what net/url makes of it.
func FuzzVia(f *testing.F) {
	f.Add("ssh://deploy@web-1:2222")
	f.Add("ssh://[fe80::1]:22")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVia(text)
		if err != nil {
			return
		}
		u, err := url.Parse(text)
		if err != nil {
			return // a zone, which a URL spells otherwise
		}
		port, _ := strconv.Atoi(u.Port())
		if u.Hostname() != v.Host || port != v.Port || v.Host[0] == '-' || v.User != "" && v.User[0] == '-' {
			t.Errorf("%q is %+v, and to net/url %+v", text, v, u)
		}
	})
}
