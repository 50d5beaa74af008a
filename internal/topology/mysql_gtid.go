package topology

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/internal/printable"
)

// maxGTIDText limits the text of a server's GTIDs. A server of ten years with a hundred sources has a tenth of it.
const maxGTIDText = 256 << 10

// mysqlGTIDs is a set of GTIDs of MySQL: the numbers of transactions by source, "uuid" or "uuid:tag" in lower case. The
// spans of a source are sorted, and there is a gap between any two.
type mysqlGTIDs map[string][]span

// span is a range of transaction numbers with both ends, at least 1.
type span struct{ first, last uint64 }

// parseMySQLGTIDs parses the text form of a set, as @@gtid_executed returns it. Source: MySQL Reference Manual, "GTID Format
// and Storage":
//
//	set:      uuid_set {"," uuid_set} or nothing; white space, also line ends, around the parts
//	uuid_set: uuid {":" tag? interval {":" interval}}; a tag (MySQL 8.3) applies to the intervals after it
//	interval: number or number "-" number
func parseMySQLGTIDs(text string) (mysqlGTIDs, error) {
	if len(text) > maxGTIDText {
		return nil, errTooLong
	}
	set := mysqlGTIDs{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		fields := strings.Split(part, ":")
		uuid := strings.ToLower(strings.TrimSpace(fields[0]))
		if !isUUID(uuid) || len(fields) < 2 {
			return nil, malformedGTID(part)
		}
		source, wantInterval := uuid, true
		for _, field := range fields[1:] {
			field = strings.TrimSpace(field)
			if tag := strings.ToLower(field); isTag(tag) {
				source, wantInterval = uuid+":"+tag, true
				continue
			}
			s, ok := parseSpan(field)
			if !ok {
				return nil, malformedGTID(part)
			}
			set[source] = append(set[source], s)
			wantInterval = false
		}
		if wantInterval {
			return nil, malformedGTID(part)
		}
	}
	for source, spans := range set {
		set[source] = mergeSpans(spans)
	}
	return set, nil
}

var errTooLong = fmt.Errorf("GTIDs: longer than %d bytes", maxGTIDText)

func malformedGTID(part string) error {
	return errors.New("GTIDs: malformed: " + strconv.Quote(printable.Clip(part, printable.MaxQuote)))
}

// isUUID reports whether s is a UUID in lower case.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

// isTag reports whether s is a tag in lower case: a letter or "_", and at most 31 more, or digits.
func isTag(s string) bool {
	if s == "" || len(s) > 32 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func parseSpan(s string) (span, bool) {
	from, to, ranged := strings.Cut(s, "-")
	first, ok := parseSequence(strings.TrimSpace(from))
	last := first
	if ranged && ok {
		last, ok = parseSequence(strings.TrimSpace(to))
	}
	return span{first, last}, ok && first > 0 && first <= last
}

// parseSequence parses a number without a sign, at most 1<<63-1.
func parseSequence(s string) (uint64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return n, err == nil
}

// mergeSpans sorts spans and joins those that overlap or touch.
func mergeSpans(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	merged := spans[:1]
	for _, s := range spans[1:] {
		if last := &merged[len(merged)-1]; s.first <= last.last+1 {
			last.last = max(last.last, s.last)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}

// includes reports whether all of b is in a, as GTID_SUBSET(b, a) does.
func (a mysqlGTIDs) includes(b mysqlGTIDs) bool {
	for source, spans := range b {
		own := a[source]
		for _, s := range spans {
			for len(own) > 0 && own[0].last < s.first {
				own = own[1:]
			}
			if len(own) == 0 || own[0].first > s.first || own[0].last < s.last {
				return false
			}
		}
	}
	return true
}
