package keys

import (
	"strings"
	"testing"
)

func TestOnce(t *testing.T) {
	const s = Space(DefaultPrefix)
	for key, at := range map[string]string{
		"v1":                     "/conch/v1/once/migrate/v1", // as ever
		"100%":                   "/conch/v1/once/migrate/100%",
		"a%2Fb":                  "/conch/v1/once/migrate/a%2Fb",
		"a/b":                    "/conch/v1/once-text/migrate/a%2Fb",
		"a%2Fb c":                "/conch/v1/once-text/migrate/a%252Fb%20c",
		" ":                      "/conch/v1/once-text/migrate/%20",
		"/":                      "/conch/v1/once-text/migrate/%2F",
		"..":                     "/conch/v1/once/migrate/..",
		"reg:5000/größe:1+2":     "/conch/v1/once-text/migrate/reg:5000%2Fgröße:1+2",
		strings.Repeat("a", 201): "/conch/v1/once-text/migrate/" + strings.Repeat("a", 201),
	} {
		if err := CheckOnce(key); err != nil {
			t.Errorf("CheckOnce(%q) = %v", key, err)
		}
		if got := s.Once("migrate", key); got != at {
			t.Errorf("Once(%q) = %q, want %q", key, got, at)
		}
		if got, ok := s.OnceOf("migrate", at); got != key || !ok {
			t.Errorf("OnceOf(%q) = %q, %v, want %q", at, got, ok, key)
		}
	}
	for _, bad := range []string{"", "a\tb", "a\nb", "a\u00a0b", "\xff", strings.Repeat("a", 1001)} {
		if err := CheckOnce(bad); err == nil || strings.ContainsAny(err.Error(), "\n\t") {
			t.Errorf("CheckOnce(%q) = %v", bad, err)
		}
	}
	for _, other := range []string{"/conch/v1/once/other/v1", "/conch/v1/once/migrate/", "/conch/v1/once-text/migrate/v1", "/conch/v1/once-text/migrate/%zz", "/conch/v1/once/migrate/a/b"} {
		if key, ok := s.OnceOf("migrate", other); ok {
			t.Errorf("OnceOf(%q) = %q", other, key)
		}
	}
}

// Whatever two keys are, their markers lie in two places, and each is one element.
func FuzzOnce(f *testing.F) {
	f.Add("a/b", "a%2Fb")
	f.Add("a b", "a%20b")
	f.Add("%", "%25")
	f.Fuzz(func(t *testing.T, a, b string) {
		const s = Space(DefaultPrefix)
		if CheckOnce(a) != nil || CheckOnce(b) != nil {
			return
		}
		at := s.Once("n", a)
		if key, ok := s.OnceOf("n", at); !ok || key != a {
			t.Errorf("%q lies at %q, which is read as %q", a, at, key)
		}
		if (at == s.Once("n", b)) != (a == b) || strings.Count(at, "/") != 5 {
			t.Errorf("%q and %q lie at %q and %q", a, b, at, s.Once("n", b))
		}
	})
}
