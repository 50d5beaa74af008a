package proxy

// Addresses as text. netip parses strings only, which would cost an allocation for each address.

// maxText6 is the maximum length of an IPv6 address: six groups and an IPv4 address, as inet_ntop(3) writes mapped ones.
const maxText6 = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAddr4(c byte) bool { return isDigit(c) || c == '.' }
func isAddr6(c byte) bool { _, ok := hex(c); return ok || c == ':' || c == '.' }

func hex(c byte) (uint16, bool) {
	switch {
	case isDigit(c):
		return uint16(c - '0'), true
	case c >= 'a' && c <= 'f':
		return uint16(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return uint16(c-'A') + 10, true
	}
	return 0, false
}

// decimal parses a decimal number without leading zeros, at most most.
func decimal(word []byte, most int) (int, bool) {
	if len(word) == 0 || len(word) > 5 || word[0] == '0' && len(word) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range word {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= most
}

// parse4 parses an IPv4 address.
func parse4(word []byte) (ip [4]byte, ok bool) {
	for i := range ip {
		end := 0
		for end < len(word) && word[end] != '.' {
			end++
		}
		n, ok := decimal(word[:end], 255)
		if !ok {
			return ip, false
		}
		ip[i] = byte(n)
		if i == len(ip)-1 {
			return ip, end == len(word)
		}
		if end == len(word) {
			return ip, false
		}
		word = word[end+1:]
	}
	return ip, false
}

// parse6 parses groups of up to four hexadecimal digits (RFC 4291, section 2.2). One run of zeros may be omitted, and
// the last two groups may be an IPv4 address.
func parse6(word []byte) (ip [16]byte, ok bool) {
	gap, n := -1, 0 // position of "::", and the number of bytes
	if len(word) >= 2 && word[0] == ':' && word[1] == ':' {
		gap = 0
		word = word[2:]
	}
	for len(word) > 0 {
		if n == len(ip) {
			return ip, false
		}
		var group uint16
		digits := 0
		for digits < len(word) && digits <= 4 {
			v, ok := hex(word[digits])
			if !ok {
				break
			}
			group = group<<4 | v
			digits++
		}
		switch {
		case digits == 0 || digits > 4:
			return ip, false
		case digits < len(word) && word[digits] == '.':
			four, ok := parse4(word)
			if !ok || n > len(ip)-4 {
				return ip, false
			}
			n += copy(ip[n:], four[:])
			word = nil
			continue
		}
		ip[n], ip[n+1] = byte(group>>8), byte(group)
		n += 2
		word = word[digits:]
		if len(word) == 0 {
			break
		}
		if word[0] != ':' || len(word) == 1 {
			return ip, false
		}
		word = word[1:]
		if word[0] == ':' {
			if gap >= 0 {
				return ip, false
			}
			gap = n
			word = word[1:]
		}
	}
	if gap < 0 {
		return ip, n == len(ip)
	}
	if n == len(ip) {
		return ip, false // "::" replaces at least one group
	}
	tail := n - gap
	copy(ip[len(ip)-tail:], ip[gap:n])
	clear(ip[gap : len(ip)-tail])
	return ip, true
}
