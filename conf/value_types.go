package conf

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// maxInt is the upper limit of integers without another limit.
const maxInt = math.MaxInt32

// integerType is an integer in a range.
func integerType(low, high int) valueType[int] {
	form := fmt.Sprintf("integer from %d to %d", low, high)
	if high == maxInt {
		form = fmt.Sprintf("integer ≥ %d", low)
	}
	return valueType[int]{
		text: form,
		parse: func(n *tree.Node) (int, error) {
			v, ok := n.Value.(int64)
			if s, text := n.Value.(string); text && n.InString {
				var err error
				v, err = strconv.ParseInt(s, 10, 64)
				ok = err == nil || errors.Is(err, strconv.ErrRange)
			}
			switch {
			case !ok:
				return 0, fmt.Errorf("want an %s, got %s", form, n.Describe())
			case v < int64(low) && high == maxInt:
				return 0, fmt.Errorf("must be ≥ %d, got %s", low, n.Describe())
			case v > int64(high) && high == maxInt:
				return 0, fmt.Errorf("must be ≤ %d, got %s", high, n.Describe())
			case v < int64(low), v > int64(high):
				return 0, fmt.Errorf("want an %s, got %s", form, n.Describe())
			}
			return int(v), nil
		},
		show: strconv.Itoa,
	}
}

// booleanType is true or false.
func booleanType() valueType[bool] {
	return valueType[bool]{
		text: "boolean",
		parse: func(n *tree.Node) (bool, error) {
			switch {
			case n.InString && n.Value == "true":
				return true, nil
			case n.InString && n.Value == "false":
				return false, nil
			}
			if v, ok := n.Value.(bool); ok {
				return v, nil
			}
			return false, fmt.Errorf("want true or false, got %s", n.Describe())
		},
		show: strconv.FormatBool,
	}
}

// textType is a string that check accepts; nil accepts any.
func textType(form string, check func(string) error) valueType[string] {
	return valueType[string]{
		text: form,
		parse: func(n *tree.Node) (string, error) {
			s, ok := n.Value.(string)
			if !ok {
				return "", fmt.Errorf("want a %s, got %s", form, n.Describe())
			}
			if check == nil {
				return s, nil
			}
			return s, check(s)
		},
		show: strconv.Quote,
	}
}

// orEmpty also accepts an empty string, which stands for the zero value.
func orEmpty[V any](k valueType[V]) valueType[V] {
	parse := k.parse
	k.parse = func(n *tree.Node) (V, error) {
		if n.Value == "" {
			var none V
			return none, nil
		}
		return parse(n)
	}
	return k
}

// maxName limits names, which appear in URLs, metrics and logs.
const maxName = 64

// nameType is the name of a listener, cluster, level or check.
func nameType() valueType[string] { return bare(textType("name", validateName)) }

// bare formats values without quotes.
func bare(k valueType[string]) valueType[string] {
	k.show = func(s string) string { return s }
	return k
}

func validateName(s string) error {
	return validateNameWith(s, func(r rune) bool { return r > 0x7f || !isNameByte(byte(r)) },
		"a name has only letters, digits, '_', '.' and '-'")
}

// validateNameWith returns an error unless s is a name without bad characters. rule says which characters are legal.
func validateNameWith(s string, bad func(rune) bool, rule string) error {
	switch {
	case s == "":
		return errors.New("empty name")
	case strings.ContainsFunc(s, bad):
		return fmt.Errorf("%s, got %s", rule, tree.Quote(s))
	case len(s) > maxName:
		return fmt.Errorf("a name has at most %d bytes, got %d", maxName, len(s))
	case s == "." || s == "..":
		return fmt.Errorf("%q is not usable as a name", s)
	}
	return nil
}

// serverNameType is like nameType, but accepts all characters of an address.
func serverNameType() valueType[string] {
	return bare(textType("name", func(s string) error {
		return validateNameWith(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`\\", r) },
			"a server's name has only ASCII letters, digits and signs other than quotes, and no space")
	}))
}

// pathType is the path of a file, or empty.
func pathType() valueType[string] {
	return textType("path", func(s string) error {
		if strings.ContainsRune(s, 0) {
			return errors.New("NUL byte in the path")
		}
		return nil
	})
}

// inputFileType is the path of a file that a start or a reload reads, or empty.
func inputFileType() valueType[string] {
	k := pathType()
	k.file = true
	return k
}

// oneOf is one of a few words. aliases maps words of other programs to them, for suggestions only.
func oneOf(legal []string, aliases map[string]string) valueType[string] {
	list := joinWords(legal, "or")
	return valueType[string]{
		text: list,
		parse: func(n *tree.Node) (string, error) {
			s, ok := n.Value.(string)
			if !ok {
				return "", fmt.Errorf("want %s, got %s", list, n.Describe())
			}
			if slices.Contains(legal, s) {
				return s, nil
			}
			return "", fmt.Errorf("want %s, got %s%s", list, n.Describe(), didYouMean(nearest(s, legal, aliases)))
		},
		show: func(s string) string { return s },
	}
}

// Limits of durations: a tick of the timers, and a value with which sums do not overflow.
const (
	minDuration = time.Millisecond
	maxDuration = 365 * 24 * time.Hour
)

// durationType is a duration in a range. If orNone is set, zero is legal too and means none or off.
func durationType(low, high time.Duration, orNone bool) valueType[time.Duration] {
	form := "duration > 0"
	if orNone {
		form = "duration"
	}
	return valueType[time.Duration]{
		text: form,
		parse: func(n *tree.Node) (time.Duration, error) {
			s, ok := n.Value.(string)
			if !ok {
				return 0, fmt.Errorf("want a duration such as \"5s\", got %s", n.Describe())
			}
			v, err := parseDuration(s)
			switch {
			case errors.Is(err, errNotDuration):
				return 0, fmt.Errorf("want a duration such as \"5s\", got %s", n.Describe())
			case err != nil || v > high:
				why := "negative"
				if err == nil || errors.Is(err, errOverflow) {
					why = "overflow"
				}
				return 0, fmt.Errorf("must be ≥ 0 and ≤ %s, got %s (%s)", showDuration(high), n.Describe(), why)
			case v == 0 && !orNone:
				return 0, fmt.Errorf("must be > 0, got %s", n.Describe())
			case v != 0 && v < low:
				return 0, fmt.Errorf("must be at least %s, got %s", showDuration(low), n.Describe())
			}
			return v, nil
		},
		show: showDuration,
	}
}

func positiveDuration() valueType[time.Duration] {
	return durationType(minDuration, maxDuration, false)
}
func durationOrZero() valueType[time.Duration] { return durationType(minDuration, maxDuration, true) }

// maxInterface limits names of network interfaces: IFNAMSIZ of the kernel without the final 0.
const maxInterface = 15

// interfaceType is the name of a network interface.
func interfaceType() valueType[string] {
	return textType("network interface", func(s string) error {
		switch {
		case len(s) > maxInterface:
			return fmt.Errorf("the name of a network interface has at most %d bytes, got %d", maxInterface, len(s))
		case s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' || r == ':' }):
			return fmt.Errorf("want the name of a network interface such as \"eth0\", got %s", tree.Quote(s))
		}
		return nil
	})
}

// serverAddressType is an address to connect to.
func serverAddressType() valueType[Address] {
	return valueType[Address]{
		text: "address",
		parse: func(n *tree.Node) (Address, error) {
			s, ok := n.Value.(string)
			if !ok {
				return Address{}, fmt.Errorf("want an address such as \"10.0.0.1:6379\", got %s", n.Describe())
			}
			p, err := parseAddress(s)
			switch {
			case err != nil:
				return Address{}, err
			case p.last != p.Port:
				return Address{}, fmt.Errorf("a server has one port, got the range in %s", tree.Quote(s))
			case p.IsZero() || p.Host == "" && p.Path == "" && !p.Addr.IsValid():
				return Address{}, fmt.Errorf("missing host in %s", tree.Quote(s))
			case p.Addr.IsValid() && p.Addr.Addr().IsUnspecified():
				return Address{}, fmt.Errorf("%s cannot be a server address", p.Addr.Addr())
			}
			return p.Address, nil
		},
		show: Address.String,
	}
}

// maxRegex limits regular expressions, whose cost grows with their length.
const maxRegex = 4096

// regexType is a regular expression, or empty.
func regexType() valueType[string] {
	return textType("regular expression", func(s string) error {
		if len(s) > maxRegex {
			return fmt.Errorf("a regular expression has at most %d bytes, got %d", maxRegex, len(s))
		}
		if _, err := regexp.Compile(s); err != nil {
			return fmt.Errorf("invalid regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		return nil
	})
}
