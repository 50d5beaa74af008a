package sessionlog

// During an outage every session may end with the same reason. A bounded number of these records is written in each second, and
// one summary of the others.

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/l4"
)

const (
	// maxPerSecond is the most records of one reason that are written in a second.
	maxPerSecond = 100
	// maxListeners bounds the listeners that a summary names.
	maxListeners = 10
)

// limiter counts the records of one second, by reason.
type limiter struct {
	second  int64 // Unix time
	reasons []reasonCount
}

// reasonCount counts the records of one reason in a second.
type reasonCount struct {
	reason  l4.Reason
	written int
	summary
}

// summary describes the records of one reason that were omitted in a second.
type summary struct {
	reason      l4.Reason
	count       int
	first, last struct {
		at time.Time
		id uint64
	}
	listeners []string // that the records belong to, sorted, at most maxListeners
}

// passed reports whether a time lies after the second, or so far before it that the clock was set back.
func (l *limiter) passed(at time.Time) bool {
	second := at.Unix()
	return second > l.second || second < l.second-1
}

// end returns the end of the second.
func (l *limiter) end() time.Time { return time.Unix(l.second+1, 0) }

// omits reports whether there are records to be summarised.
func (l *limiter) omits() bool {
	return slices.ContainsFunc(l.reasons, func(r reasonCount) bool { return r.count > 0 })
}

// admit reports whether a record is written. The first record after take begins a second. A record of an earlier second
// that comes late counts in this one.
func (l *limiter) admit(e *entry) bool {
	if len(l.reasons) == 0 {
		l.second = e.at.Unix()
	}
	i := slices.IndexFunc(l.reasons, func(r reasonCount) bool { return r.reason == e.Reason })
	if i < 0 {
		i = len(l.reasons)
		l.reasons = append(l.reasons, reasonCount{reason: e.Reason})
	}
	r := &l.reasons[i]
	if r.written < maxPerSecond {
		r.written++
		return true
	}
	r.omit(e)
	return false
}

// omit adds a record to the summary.
func (s *summary) omit(e *entry) {
	s.last.at, s.last.id = e.at, e.ID
	if s.count++; s.count == 1 {
		s.reason, s.first = e.Reason, s.last
	}
	if at, found := slices.BinarySearch(s.listeners, e.Listener); !found && len(s.listeners) < maxListeners {
		s.listeners = slices.Insert(s.listeners, at, e.Listener)
	}
}

// take returns the summaries of the second and ends it.
func (l *limiter) take() (all []summary) {
	for i := range l.reasons {
		if l.reasons[i].count > 0 {
			all = append(all, l.reasons[i].summary)
		}
	}
	l.reasons = l.reasons[:0]
	return all
}

func (s *summary) appendText(b []byte, clock *timeFormatter) []byte {
	b = clock.append(append(b, "time="...), s.last.at, 3)
	b = append(append(b, ` level=INFO msg="session records omitted" reason=`...), s.reason.String()...)
	b = strconv.AppendInt(append(b, " count="...), int64(s.count), 10)
	b = clock.append(append(b, " first="...), s.first.at, 3)
	b = clock.append(append(b, " last="...), s.last.at, 3)
	b = strconv.AppendUint(append(b, " first_id="...), s.first.id, 10)
	b = strconv.AppendUint(append(b, " last_id="...), s.last.id, 10)
	b = textValue(append(b, " listeners="...), strings.Join(s.listeners, ","))
	return append(b, '\n')
}

func (s *summary) appendJSON(b []byte, clock *timeFormatter) []byte {
	b = clock.append(append(b, `{"time":"`...), s.last.at, 6)
	b = append(append(b, `","level":"INFO","msg":"session records omitted","reason":"`...), s.reason.String()...)
	b = strconv.AppendInt(append(b, `","count":`...), int64(s.count), 10)
	b = clock.append(append(b, `,"first":"`...), s.first.at, 6)
	b = clock.append(append(b, `","last":"`...), s.last.at, 6)
	b = strconv.AppendUint(append(b, `","first_id":`...), s.first.id, 10)
	b = strconv.AppendUint(append(b, `,"last_id":`...), s.last.id, 10)
	b = append(b, `,"listeners":[`...)
	for i, name := range s.listeners {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonValue(b, name)
	}
	return append(b, "]}\n"...)
}
