package conf

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// most is the upper limit of integers that need none: what fits everywhere.
const most = math.MaxInt32

// integer is a whole number in a range.
func integer(low, high int) kind[int] {
	form := fmt.Sprintf("integer from %d to %d", low, high)
	if high == most {
		form = fmt.Sprintf("integer ≥ %d", low)
	}
	return kind[int]{
		form: form,
		parse: func(n *node) (int, error) {
			v, ok := n.value.(int64)
			if s, text := n.value.(string); text && n.word {
				var err error
				v, err = strconv.ParseInt(s, 10, 64)
				ok = err == nil || errors.Is(err, strconv.ErrRange)
			}
			switch {
			case !ok:
				return 0, fmt.Errorf("want an %s, got %s", form, n.got())
			case v < int64(low) && high == most:
				return 0, fmt.Errorf("must be ≥ %d, got %s", low, n.got())
			case v > int64(high) && high == most:
				return 0, fmt.Errorf("must be ≤ %d, got %s", high, n.got())
			case v < int64(low), v > int64(high):
				return 0, fmt.Errorf("want an %s, got %s", form, n.got())
			}
			return int(v), nil
		},
		show: strconv.Itoa,
	}
}

// boolean is true or false.
func boolean() kind[bool] {
	return kind[bool]{
		form: "boolean",
		parse: func(n *node) (bool, error) {
			switch {
			case n.word && n.value == "true":
				return true, nil
			case n.word && n.value == "false":
				return false, nil
			}
			if v, ok := n.value.(bool); ok {
				return v, nil
			}
			return false, fmt.Errorf("want true or false, got %s", n.got())
		},
		show: strconv.FormatBool,
	}
}

// text is a string that check accepts; nil accepts any.
func text(form string, check func(string) error) kind[string] {
	return kind[string]{
		form: form,
		parse: func(n *node) (string, error) {
			s, ok := n.value.(string)
			if !ok {
				return "", fmt.Errorf("want a %s, got %s", form, n.got())
			}
			if check == nil {
				return s, nil
			}
			return s, check(s)
		},
		show: strconv.Quote,
	}
}

// orNone is a kind for which an empty string stands for the zero value, as if the key were not there.
func orNone[V any](k kind[V]) kind[V] {
	parse := k.parse
	k.parse = func(n *node) (V, error) {
		if n.value == "" {
			var none V
			return none, nil
		}
		return parse(n)
	}
	return k
}

// maxName bounds the names of things, which appear in URLs, metrics and logs.
const maxName = 64

// nameText is the name of a listener, cluster, level or check.
func nameText() kind[string] {
	k := text("name", checkName)
	k.show = func(s string) string { return s }
	return k
}

func checkName(s string) error {
	bad := strings.IndexFunc(s, func(r rune) bool { return r > 0x7f || !isNameByte(byte(r)) })
	switch {
	case s == "":
		return errors.New("an empty name")
	case bad >= 0:
		return fmt.Errorf("a name has only letters, digits, '_', '.' and '-', got %s", quoteText(s))
	case len(s) > maxName:
		return fmt.Errorf("a name has at most %d bytes, got %d", maxName, len(s))
	case s == "." || s == "..":
		return fmt.Errorf("%q is not usable as a name", s)
	}
	return nil
}

// serverName is like nameText, but takes whatever an address may hold as well.
func serverName() kind[string] {
	k := text("name", func(s string) error {
		bad := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`\\", r) })
		switch {
		case s == "":
			return errors.New("an empty name")
		case bad >= 0:
			return fmt.Errorf("a server's name has only ASCII letters, digits and signs other than quotes, and no space, got %s", quoteText(s))
		case len(s) > maxName:
			return fmt.Errorf("a name has at most %d bytes, got %d", maxName, len(s))
		case s == "." || s == "..":
			return fmt.Errorf("%q is not usable as a name", s)
		}
		return nil
	})
	k.show = func(s string) string { return s }
	return k
}

// filePath is the path of a file, or empty.
func filePath() kind[string] {
	return text("path", func(s string) error {
		if strings.ContainsRune(s, 0) {
			return errors.New("a NUL byte in the path")
		}
		return nil
	})
}

// oneOf is one of a few words. aliases maps what other programs call them, for suggestions only.
func oneOf(legal []string, aliases map[string]string) kind[string] {
	list := strings.Join(legal, ", ")
	if n := len(legal); n > 1 {
		list = strings.Join(legal[:n-1], ", ") + " or " + legal[n-1]
	}
	return kind[string]{
		form: list,
		parse: func(n *node) (string, error) {
			s, ok := n.value.(string)
			if !ok {
				return "", fmt.Errorf("want %s, got %s", list, n.got())
			}
			for _, l := range legal {
				if s == l {
					return s, nil
				}
			}
			return "", fmt.Errorf("want %s, got %s%s", list, n.got(), maybe(nearest(s, legal, aliases)))
		},
		show: func(s string) string { return s },
	}
}

// Durations shorter than a tick make no sense anywhere, and the longest that makes sense keeps sums from overflowing.
const (
	shortest = time.Millisecond
	longest  = 365 * 24 * time.Hour
)

// duration is a length of time in a range; with orNone, zero is legal too and means none or off.
func duration(low, high time.Duration, orNone bool) kind[time.Duration] {
	form := "duration > 0"
	if orNone {
		form = "duration"
	}
	return kind[time.Duration]{
		form: form,
		parse: func(n *node) (time.Duration, error) {
			s, ok := n.value.(string)
			if !ok {
				return 0, fmt.Errorf("want a duration such as \"5s\", got %s", n.got())
			}
			v, err := parseDuration(s)
			switch {
			case errors.Is(err, errNotDuration):
				return 0, fmt.Errorf("want a duration such as \"5s\", got %s", n.got())
			case err != nil || v > high:
				why := "negative"
				if err == nil || errors.Is(err, errOverflow) {
					why = "overflow"
				}
				return 0, fmt.Errorf("must be ≥ 0 and ≤ %s, got %s (%s)", showDuration(high), n.got(), why)
			case v == 0 && !orNone:
				return 0, fmt.Errorf("must be > 0, got %s", n.got())
			case v != 0 && v < low:
				return 0, fmt.Errorf("must be at least %s, got %s", showDuration(low), n.got())
			}
			return v, nil
		},
		show: showDuration,
	}
}

func someTime() kind[time.Duration]   { return duration(shortest, longest, false) }
func timeOrNone() kind[time.Duration] { return duration(shortest, longest, true) }

// serverAddress is an endpoint to dial.
func serverAddress() kind[Address] {
	return kind[Address]{
		form: "address",
		parse: func(n *node) (Address, error) {
			s, ok := n.value.(string)
			if !ok {
				return Address{}, fmt.Errorf("want an address such as \"10.0.0.1:6379\", got %s", n.got())
			}
			p, err := parseAddress(s)
			switch {
			case err != nil:
				return Address{}, err
			case p.last != p.Port:
				return Address{}, fmt.Errorf("a server has one port, got the range in %s", quoteText(s))
			case p.IsZero() || p.Host == "" && p.Path == "" && !p.Addr.IsValid():
				return Address{}, fmt.Errorf("missing host in %s", quoteText(s))
			case p.Addr.IsValid() && p.Addr.Addr().IsUnspecified():
				return Address{}, fmt.Errorf("%s is no address to dial", p.Addr.Addr())
			}
			return p.Address, nil
		},
		show: Address.String,
	}
}

// maxRegex bounds regular expressions, whose cost grows with their length.
const maxRegex = 4096

// regex is a regular expression, or empty.
func regex() kind[string] {
	return text("regular expression", func(s string) error {
		if len(s) > maxRegex {
			return fmt.Errorf("a regular expression has at most %d bytes, got %d", maxRegex, len(s))
		}
		if _, err := regexp.Compile(s); err != nil {
			return fmt.Errorf("want a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		return nil
	})
}
