package cli

import (
	"slices"
	"strings"
)

// masked stands in the place of a secret.
const masked = "***"

// mask is a value of the row as it may be shown.
func (r *Row) mask(text string) string {
	switch {
	case r.Secret:
		return masked
	case r.Mask != nil:
		text = r.Mask(text)
	}
	return maskURLs(text)
}

// maskURLs masks what the URLs in text have before their @: a user, a password or
// a token.
func maskURLs(text string) string {
	const scheme = "://"
	var b strings.Builder
	for {
		i := strings.Index(text, scheme)
		if i < 0 {
			return b.String() + text
		}
		b.WriteString(text[:i+len(scheme)])
		text = text[i+len(scheme):]
		end := strings.IndexAny(text, " \t\n,\"'")
		if end < 0 {
			end = len(text)
		}
		// The last one: a password may hold another, or a slash, that should have been
		// escaped.
		if at := strings.LastIndexByte(text[:end], '@'); at >= 0 {
			b.WriteString(masked)
			text = text[at:]
		}
	}
}

// Inherit sets Row.Inherit in all rows of a group that are no secrets.
func (f *Flags) Inherit(group string) {
	for _, r := range f.rows {
		if r.Group == group && !r.Secret {
			r.Inherit = true
		}
	}
}

// Environ returns env without the variables that are settings of this tool, for a
// command that it runs: they were said to the tool, and not to another that the
// command may be. Those of rows with Inherit stay where they hold no secret, and
// aliases always: ETCDCTL_ variables are etcdctl's.
func (f *Flags) Environ(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, value, ok := strings.Cut(entry, "=")
		return ok && slices.ContainsFunc(f.rows, func(r *Row) bool {
			return r.Env == name && !(r.Inherit && r.mask(value) == value)
		})
	})
}
