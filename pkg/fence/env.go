package fence

import (
	"fmt"
	"strconv"
	"strings"

	"conch/pkg/keys"
)

// HoldsVar is the variable that lists all the holds that a command runs under: of
// conches that run one another the outermost comes first. The other variables are
// of the innermost.
const HoldsVar = "CONCH_HOLDS"

// Env returns the token as a command finds it in its environment.
func (t Token) Env() []string {
	return []string{
		"CONCH_REV=" + strconv.FormatInt(t.Rev, 10),
		"CONCH_ETCD_KEY=" + t.Key,
		"CONCH_CLUSTER=" + strconv.FormatUint(t.Cluster, 16),
		"CONCH_LEASE=" + keys.Hex(t.Lease),
	}
}

// FromEnv reads back what Env wrote; lookup is like os.LookupEnv. The error
// names the variable that is missing or unusable.
func FromEnv(lookup func(string) (string, bool)) (Token, error) {
	var t Token
	for _, f := range []struct {
		name string
		set  func(string) error
	}{
		{"CONCH_REV", func(s string) (err error) { t.Rev, err = strconv.ParseInt(s, 10, 64); return }},
		{"CONCH_ETCD_KEY", func(s string) error { t.Key = s; return nil }},
		{"CONCH_CLUSTER", func(s string) (err error) { t.Cluster, err = strconv.ParseUint(s, 16, 64); return }},
		{"CONCH_LEASE", func(s string) (err error) { t.Lease, err = strconv.ParseInt(s, 16, 64); return }},
	} {
		s, ok := lookup(f.name)
		if !ok || s == "" {
			return Token{}, fmt.Errorf("%s is not set", f.name)
		}
		if err := f.set(s); err != nil {
			return Token{}, fmt.Errorf("%s=%q is not a token", f.name, s)
		}
	}
	return t, nil
}

// Under returns the HoldsVar, as an entry of an environment, of a command under
// t where this process runs under what lookup finds.
func (t Token) Under(lookup func(string) (string, bool)) string {
	var list []string
	for _, outer := range append(holds(lookup), t) {
		list = append(list, fmt.Sprintf("%x:%d:%s", outer.Cluster, outer.Rev, outer.Key))
	}
	return HoldsVar + "=" + strings.Join(list, " ")
}

// Enclosing returns the tokens of all holds that this process runs under as far as
// its environment says, the innermost first. Those of outer ones lack the lease.
func Enclosing(lookup func(string) (string, bool)) []Token {
	var all []Token
	inner, err := FromEnv(lookup)
	if err == nil {
		all = append(all, inner)
	}
	outer := holds(lookup)
	for i := len(outer) - 1; i >= 0; i-- {
		if t := outer[i]; t.Key != inner.Key || t.Rev != inner.Rev {
			all = append(all, t)
		}
	}
	return all
}

// holds reads HoldsVar. What is no token in it is left out.
func holds(lookup func(string) (string, bool)) []Token {
	var all []Token
	text, _ := lookup(HoldsVar)
	for word := range strings.FieldsSeq(text) {
		part := strings.SplitN(word, ":", 3)
		if len(part) != 3 {
			continue
		}
		cluster, err1 := strconv.ParseUint(part[0], 16, 64)
		rev, err2 := strconv.ParseInt(part[1], 10, 64)
		if err1 == nil && err2 == nil && part[2] != "" {
			all = append(all, Token{Key: part[2], Rev: rev, Cluster: cluster})
		}
	}
	return all
}
