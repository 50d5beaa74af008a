package conf

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"weir/conf/internal/tree"
)

// String formats the address as in a file.
func (e Address) String() string {
	switch {
	case e.Path != "":
		return "unix:" + e.Path
	case e.SamePort && e.Host != "":
		return e.Host + " port=" + samePort
	case e.SamePort:
		return e.Addr.Addr().String() + " port=" + samePort
	case e.Host != "":
		return e.Host + ":" + strconv.Itoa(int(e.Port))
	case e.Addr.IsValid():
		return e.Addr.String()
	}
	return ""
}

// IsZero reports whether no form of address is set.
func (e Address) IsZero() bool { return e == Address{} }

// maxUnixPath is the size of sun_path in sockaddr_un less the terminating NUL (unix(7)).
const maxUnixPath = 107

// parsed is an address as written, whose port may be a range.
type parsed struct {
	Address
	last uint16 // the last port of a range; Port if there is no range
}

// parseAddress parses "10.0.0.1:80", "[::1]:80", "name:80", "unix:/path", and ranges such as "10.0.0.1:80-89". A
// missing host is left empty.
func parseAddress(s string) (parsed, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseUnix(s, path)
	}
	host, port, err := cutPort(s)
	if err != nil {
		return parsed{}, err
	}
	var p parsed
	if p.Port, p.last, err = parsePorts(port); err != nil {
		return parsed{}, err
	}
	bracketed := strings.HasPrefix(host, "[")
	if bracketed {
		host = host[1 : len(host)-1]
	}
	if host == "" && !bracketed {
		return p, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if bracketed && ip.Is4() {
			return parsed{}, fmt.Errorf("%q is not an IPv6 address: leave out the brackets", host)
		}
		p.Addr = netip.AddrPortFrom(ip.Unmap(), p.Port)
		return p, nil
	}
	if bracketed {
		return parsed{}, fmt.Errorf("%s is not an IPv6 address", tree.Quote(host))
	}
	if err := validateHost(host); err != nil {
		return parsed{}, err
	}
	p.Host = host
	return p, nil
}

func parseUnix(s, path string) (parsed, error) {
	switch {
	case path == "":
		return parsed{}, fmt.Errorf("missing path in %q", s)
	case !filepath.IsAbs(path):
		return parsed{}, fmt.Errorf("want an absolute path after unix:, got %s", tree.Quote(path))
	case strings.ContainsRune(path, 0):
		return parsed{}, fmt.Errorf("NUL byte in the path")
	}
	path = filepath.Clean(path)
	switch {
	case path == "/":
		return parsed{}, fmt.Errorf("%q is not a path of a socket", path)
	case len(path) > maxUnixPath:
		return parsed{}, fmt.Errorf("a unix socket's path has at most %d bytes, got %d", maxUnixPath, len(path))
	}
	return parsed{Address: Address{Path: path}}, nil
}

// cutPort splits an address at the colon before its port. Brackets stay with the host.
func cutPort(s string) (host, port string, err error) {
	switch i := strings.LastIndexByte(s, ':'); {
	case s == "":
		return "", "", fmt.Errorf("empty address")
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", fmt.Errorf("missing ] in %s", tree.Quote(s))
		}
		host, port = s[:end+1], s[end+1:]
		if port == "" {
			return "", "", fmt.Errorf("missing port in %s", tree.Quote(s))
		}
		if port[0] != ':' {
			return "", "", fmt.Errorf("want a colon and a port after ] in %s", tree.Quote(s))
		}
		return host, port[1:], nil
	case i < 0:
		return "", "", fmt.Errorf("missing port in %s", tree.Quote(s))
	case strings.Count(s, ":") > 1:
		if _, err := netip.ParseAddr(s); err == nil {
			return "", "", fmt.Errorf("missing port, or missing brackets around the IPv6 address, in %s; write \"[::1]:80\"", tree.Quote(s))
		}
		return "", "", fmt.Errorf("too many colons in %s; write an IPv6 address as in \"[::1]:80\"", tree.Quote(s))
	default:
		return s[:i], s[i+1:], nil
	}
}

// parsePorts parses "80" or "80-89".
func parsePorts(s string) (first, last uint16, err error) {
	if s == "" {
		return 0, 0, fmt.Errorf("missing port after the colon")
	}
	a, b, ranged := strings.Cut(s, "-")
	first, ok := parsePort(a)
	if !ok {
		if a == "" { // a negative number, not a range
			a = s
		}
		return 0, 0, fmt.Errorf("port must be 1–65535, got %s", tree.Quote(a))
	}
	last = first
	if ranged {
		if last, ok = parsePort(b); !ok {
			return 0, 0, fmt.Errorf("port must be 1–65535, got %s", tree.Quote(b))
		}
		if last < first {
			return 0, 0, fmt.Errorf("port range %s ends before it begins", s)
		}
	}
	return first, last, nil
}

func parsePort(s string) (uint16, bool) {
	if s == "" || s[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// validateHost accepts host names: letters, digits, hyphens and underscores in labels of up to 63 bytes. A name of
// digits and dots is rejected as a mistyped IP address.
func validateHost(s string) error {
	name := strings.TrimSuffix(s, ".")
	if len(name) > 253 {
		return fmt.Errorf("a host name has at most 253 bytes, got %d", len(name))
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return fmt.Errorf("%s is neither an IP address nor a host name", tree.Quote(s))
		}
		for _, c := range []byte(l) {
			if !isNameByte(c) || c == '.' {
				return fmt.Errorf("%s is neither an IP address nor a host name", tree.Quote(s))
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("%s is not an IP address", tree.Quote(s))
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

// parseHost parses an address without a port: an IP address, with or without brackets, or a host name.
func parseHost(s string) (string, error) {
	host := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String(), nil
	}
	if p, err := parseAddress(s); err == nil && !p.IsZero() {
		return "", fmt.Errorf("want a host without a port or path, got %s", tree.Quote(s))
	}
	if s == "" {
		return "", fmt.Errorf("empty address")
	}
	return s, validateHost(s)
}
