package convert

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// number returns an integer as TOML, or 0.
func number(s string) string {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return "0"
	}
	return strconv.Itoa(n)
}

// byteRate returns a size of nginx as a limit of a rate in TOML, or "" if it is not a constant. The units are the same. What
// is more than weir takes is no limit.
func byteRate(s string) string {
	s = strings.ToUpper(s)
	digits := strings.TrimRight(s, "KMG")
	unit := map[string]uint64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[s[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case unit == 0 || errors.Is(err, strconv.ErrSyntax):
		return ""
	case n == 0 || n > 1<<40/unit:
		return quote("0")
	}
	return quote(s)
}

// period returns the duration of a time of HAProxy or nginx: digits and a unit, of which nginx allows several. Without a
// unit the number counts units of the given kind.
func period(s string, unit time.Duration) (time.Duration, bool) {
	var sum time.Duration
	if s == "" {
		return 0, false
	}
	for s != "" {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		count, err := strconv.ParseInt(s[:n], 10, 32)
		if err != nil {
			return 0, false
		}
		s = s[n:]
		each := unit
		for _, u := range units {
			if strings.HasPrefix(s, u.name) {
				each, s = u.length, s[len(u.name):]
				break
			}
		}
		sum += time.Duration(count) * each
	}
	return sum, true
}

// units are the units of times, longer names first.
var units = []struct {
	name   string
	length time.Duration
}{
	{"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour},
	{"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour}, {"M", 30 * 24 * time.Hour}, {"y", 365 * 24 * time.Hour},
}

// The limits of durations in weir's files.
const (
	minDuration = time.Millisecond
	maxDuration = 8760 * time.Hour
)

// writeDuration returns a duration as weir writes it, within weir's limits.
func writeDuration(d time.Duration) string {
	if d == 0 {
		return `"0s"`
	}
	d = min(max(d, minDuration), maxDuration)
	var b strings.Builder
	for _, u := range []struct {
		name   string
		length time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond}} {
		if n := d / u.length; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + u.name)
			d -= n * u.length
		}
	}
	return quote(b.String())
}

// bytesLiteral writes bytes as the "0x…" text of send and expect if they are not printable text.
func bytesLiteral(hexDigits string) string { return "0x" + strings.ToLower(hexDigits) }
