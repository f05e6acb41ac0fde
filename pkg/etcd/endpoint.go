package etcd

import (
	"net"
	"net/url"
	"path/filepath"
	"strings"
)

// canonical brings endpoints into the form in which they are compared, shown and
// handed on: a scheme in lower case, a host with its port or an absolute path, and
// nothing behind. It takes every spelling that etcdctl takes. One without a scheme
// is encrypted if tls says that something about TLS is set, as etcdctl has it, and
// stays as it is if not. It refuses what cannot be an endpoint, and a mix of encrypted and plain ones:
// a plain one would get the password in clear.
func canonical(endpoints []string, tls bool) ([]string, error) {
	var all []string
	secure := 0
	for _, text := range endpoints {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		e, err := canonicalOne(text, tls)
		if err != nil {
			return nil, err
		}
		if isSecure(e) {
			secure++
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, configErrorf("no endpoint is given (set --endpoints or ETCDCTL_ENDPOINTS)")
	}
	if secure != 0 && secure != len(all) {
		return nil, configErrorf("endpoints %s mix https and plain ones", strings.Join(all, ","))
	}
	for _, e := range all {
		if network, address := target(e); network == "tcp" && hostOf(e) == address {
			return nil, configErrorf("endpoint %q has no port; that of etcd's clients is 2379", e)
		}
	}
	return all, nil
}

func canonicalOne(text string, tls bool) (string, error) {
	scheme, rest := split(text)
	bare := scheme == ""
	switch scheme {
	case "":
		scheme = "http"
		if tls {
			scheme, bare = "https", false
		}
	case "http", "https":
	case "unix", "unixs":
		return socket(text, scheme, rest)
	default:
		return "", configErrorf("endpoint %q: unknown scheme %q; use http, https, unix or unixs", scheme+"://"+rest[strings.LastIndexByte(rest, '@')+1:], scheme)
	}
	rest = strings.TrimRight(rest, "/")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 { // a user, whom etcd does not read there, and a password, which is not for messages
		rest = rest[at+1:]
		text = scheme + "://" + rest
	}
	u, err := url.Parse(scheme + "://" + rest)
	switch {
	case err != nil || u.Hostname() == "":
		return "", configErrorf("endpoint %q is not a URL or host:port, as 127.0.0.1:2379 is", text)
	case u.Path+u.RawQuery+u.Fragment != "":
		return "", configErrorf("endpoint %q has a path; etcd has none", text)
	}
	if bare {
		return strings.ToLower(u.Host), nil
	}
	return scheme + "://" + strings.ToLower(u.Host), nil
}

// split takes the scheme off an endpoint; it is in lower case, and empty where
// there is none.
func split(text string) (scheme, rest string) {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		return strings.ToLower(scheme), rest
	}
	if scheme, rest, ok := strings.Cut(text, ":"); ok {
		if scheme = strings.ToLower(scheme); scheme == "unix" || scheme == "unixs" {
			return scheme, rest
		}
	}
	return "", text
}

// socket is the canonical form of a socket's path, which may be relative to a
// directory that is not the helper's.
func socket(text, scheme, path string) (string, error) {
	switch {
	case path == "":
		return "", configErrorf("endpoint %q has no path", text)
	case path[0] == '@': // abstract, a name and no path
		return scheme + ":" + path, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", configErrorf("endpoint %q: %w", text, err)
	}
	return scheme + "://" + path, nil
}

// isSecure reports whether a canonical endpoint is encrypted.
func isSecure(endpoint string) bool {
	return strings.HasPrefix(endpoint, "https:") || strings.HasPrefix(endpoint, "unixs:")
}

// target is what to dial for a canonical endpoint.
func target(endpoint string) (network, address string) {
	scheme, rest := split(endpoint)
	if scheme == "unix" || scheme == "unixs" {
		return "unix", rest
	}
	return "tcp", rest
}

// hostOf is the name that the certificate of a canonical endpoint is to be for.
func hostOf(endpoint string) string {
	network, address := target(endpoint)
	if network == "unix" {
		return filepath.Base(address)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
