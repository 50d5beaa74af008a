package conf

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"weir/conf/internal/tree"
)

// maxByteRate is the upper limit of rates, in bytes per second.
const maxByteRate = 1 << 40

// sizeUnits are the units of sizes, as in nginx and HAProxy.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}}

// byteRateType is a number of bytes per second: an integer, or a text with a unit such as "10M".
func byteRateType() valueType[int64] { return sizeType("bytes per second", "10M", 0) }

// positiveSizeType is a number of bytes: an integer, or a text with a unit such as "4M".
func positiveSizeType() valueType[int64] { return sizeType("bytes", "4M", 1) }

// sizeType is a number of at least least, with a unit if it is a text.
func sizeType(what, example string, least int64) valueType[int64] {
	return valueType[int64]{
		text: what,
		parse: func(n *tree.Node) (int64, error) {
			v, ok := n.Value.(int64)
			if s, text := n.Value.(string); text {
				v, ok = parseSize(s)
			}
			switch {
			case !ok:
				return 0, fmt.Errorf("want %s such as 500000 or %q, got %s", what, example, n.Describe())
			case v < least || v > maxByteRate:
				return 0, fmt.Errorf("must be ≥ %d and ≤ %s, got %s", least, showSize(maxByteRate), n.Describe())
			}
			return v, nil
		},
		show: showSize,
	}
}

// parseSize parses digits and a unit: K, M or G, which count 1,024 of the unit before, or none. Sizes that are too large
// become the largest one.
func parseSize(s string) (int64, bool) {
	each := int64(1)
	for _, u := range sizeUnits {
		if digits, ok := strings.CutSuffix(strings.ToUpper(s), u.name); ok {
			s, each = digits, u.bytes
			break
		}
	}
	if strings.Trim(s, "0123456789") != "" {
		return 0, false // a sign too
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	if v > math.MaxInt64/each {
		return math.MaxInt64, true
	}
	return v * each, true
}

// showSize formats a size with the largest unit of which it is a multiple.
func showSize(v int64) string {
	for _, u := range sizeUnits {
		if v != 0 && v%u.bytes == 0 {
			return strconv.FormatInt(v/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10)
}
