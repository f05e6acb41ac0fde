package cron

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Via is a host that a job runs on over SSH, from the runner.
type Via struct {
	User string // "": ssh decides
	Host string // a name, an alias of ssh's, or an address without brackets
	Port int    // 0: ssh decides
}

// ParseVia reads what Job.Via takes: ssh://[USER@]HOST[:PORT].
func ParseVia(text string) (Via, error) {
	v, ok := parseVia(text)
	if ok {
		return v, nil
	}
	hint := ""
	_, rest, found := strings.Cut(text, "://")
	if !found {
		rest = text
	}
	if better := "ssh://" + strings.TrimRight(rest, "/"); better != text {
		if _, ok := parseVia(better); ok {
			hint = fmt.Sprintf(": did you mean %q?", better)
		}
	}
	return Via{}, fmt.Errorf("%q is not ssh://[USER@]HOST[:PORT]%s", text, hint)
}

func parseVia(text string) (v Via, ok bool) {
	host, ok := strings.CutPrefix(text, "ssh://")
	if !ok {
		return Via{}, false
	}
	if user, rest, found := strings.Cut(host, "@"); found {
		if !isHost(strings.ReplaceAll(user, "+", "_")) {
			return Via{}, false
		}
		v.User, host = user, rest
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		return v.address(inner)
	}
	host, port, found := strings.Cut(host, ":")
	v.Host = host
	return v, isHost(host) && (!found || v.port(port))
}

// address reads the rest of an address in brackets.
func (v Via) address(rest string) (Via, bool) {
	host, port, ok := strings.Cut(rest, "]")
	addr, err := netip.ParseAddr(host)
	if !ok || err != nil || !addr.Is6() || strings.ContainsFunc(addr.Zone(), notOfHost) {
		return Via{}, false
	}
	v.Host = host
	port, found := strings.CutPrefix(port, ":")
	return v, !found && port == "" || found && v.port(port)
}

func (v *Via) port(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	v.Port = int(n)
	return err == nil && n > 0
}

// isHost keeps out what ssh would take for an option, and what the shell of a
// ProxyCommand would run (CVE-2023-51385).
func isHost(s string) bool {
	return s != "" && len(s) <= 253 && s[0] != '-' && !strings.ContainsFunc(s, notOfHost)
}

func notOfHost(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
}
