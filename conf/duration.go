package conf

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var (
	errNotDuration = errors.New("not a duration")
	errOverflow    = errors.New("overflow")
	errNegative    = errors.New("negative")
)

// parseDuration parses one or more numbers with a unit each, such as "1m30s" or "1.5h". Units are ns, us, ms, s, m, h,
// d.
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	rest, negative := strings.CutPrefix(s, "-")
	if rest == "" {
		return 0, errNotDuration
	}
	var sum float64
	for rest != "" {
		i := 0
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '.') {
			i++
		}
		if i > 0 && i+1 < len(rest) && (rest[i] == 'e' || rest[i] == 'E') && rest[i+1] >= '0' && rest[i+1] <= '9' {
			for i++; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
			}
		}
		number, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, errNotDuration
		}
		rest = rest[i:]
		j := 0
		for j < len(rest) && rest[j] != '.' && (rest[j] < '0' || rest[j] > '9') {
			j++
		}
		unit, ok := unitOf(rest[:j])
		if !ok {
			return 0, errNotDuration
		}
		rest = rest[j:]
		sum += number * float64(unit)
	}
	switch {
	case negative && sum > 0:
		return 0, errNegative
	case sum >= math.MaxInt64:
		return 0, errOverflow
	}
	return time.Duration(math.Round(sum)), nil
}

func unitOf(s string) (time.Duration, bool) {
	switch s {
	case "ns":
		return time.Nanosecond, true
	case "us", "µs", "μs":
		return time.Microsecond, true
	case "ms":
		return time.Millisecond, true
	case "s":
		return time.Second, true
	case "m":
		return time.Minute, true
	case "h":
		return time.Hour, true
	case "d":
		return 24 * time.Hour, true
	}
	return 0, false
}

// showDuration formats a duration without zero units: 1m instead of 1m0s.
func showDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
