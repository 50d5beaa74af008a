package admin

// The text format of Prometheus (exposition format, version 0.0.4). The official client library takes a second of CPU time
// for the 300,000 lines of 10,000 servers; this writer takes a thirtieth of that and buffers only 64 kB.

import (
	"bufio"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/internal/status"
)

const expositionType = "text/plain; version=0.0.4; charset=utf-8"

// family writes the samples of one metric.
type family struct {
	out    *bufio.Writer // keeps the first error
	name   string
	labels []string
	order  []int // indexes of labels, sorted by name
	buf    []byte
	bounds []float64 // of the histogram buckets, ascending
}

// writeMetrics writes all metrics of a snapshot.
func writeMetrics(w io.Writer, s *snapshot) error {
	out := bufio.NewWriterSize(w, 64<<10)
	f := family{out: out}
	for _, m := range metricTable() {
		f.begin(&m)
		m.write(&f, s)
	}
	return out.Flush()
}

// begin starts the metric m and writes its HELP and TYPE lines.
func (f *family) begin(m *metric) {
	f.name, f.bounds, f.labels = m.name, nil, nil
	if m.labels != "" {
		f.labels = strings.Split(m.labels, ", ")
	}
	f.order = f.order[:0]
	for i := range f.labels {
		f.order = append(f.order, i)
	}
	slices.SortFunc(f.order, func(a, b int) int { return strings.Compare(f.labels[a], f.labels[b]) })
	f.out.WriteString("# HELP " + m.name + " " + m.help + "\n# TYPE " + m.name + " " + string(m.kind) + "\n")
}

// value writes a sample. labels are the label values in the order of the table.
func (f *family) value(v float64, labels ...string) {
	f.start("", labels)
	if len(labels) > 0 {
		f.buf = append(f.buf, '}')
	}
	f.end(v)
}

func (f *family) count(n uint64, labels ...string) { f.value(float64(n), labels...) }
func (f *family) bool(b bool, labels ...string)    { f.value(boolValue(b), labels...) }

// histogram writes the samples of a histogram. All histograms of a family have the same bounds.
func (f *family) histogram(h *status.Histogram, labels ...string) {
	if f.bounds == nil {
		for bound := range h.Buckets {
			f.bounds = append(f.bounds, bound)
		}
		slices.Sort(f.bounds)
	}
	for _, bound := range f.bounds {
		f.bucket(bound, h.Buckets[bound], labels)
	}
	f.bucket(math.Inf(1), h.Count, labels)
	for _, part := range []struct {
		suffix string
		v      float64
	}{{"_sum", h.Sum}, {"_count", float64(h.Count)}} {
		f.start(part.suffix, labels)
		if len(labels) > 0 {
			f.buf = append(f.buf, '}')
		}
		f.end(part.v)
	}
}

func (f *family) bucket(bound float64, n uint64, labels []string) {
	f.start("_bucket", labels)
	if len(labels) > 0 {
		f.buf = append(f.buf, ',')
	} else {
		f.buf = append(f.buf, '{')
	}
	f.buf = append(f.buf, `le="`...)
	f.buf = append(appendNumber(f.buf, bound), `"}`...)
	f.end(float64(n))
}

// start begins a sample with its name and labels, without the closing brace.
func (f *family) start(suffix string, values []string) {
	f.buf = append(append(f.buf[:0], f.name...), suffix...)
	sign := byte('{')
	for _, i := range f.order[:len(values)] {
		f.buf = append(append(append(f.buf, sign), f.labels[i]...), `="`...)
		f.buf = append(appendLabel(f.buf, values[i]), '"')
		sign = ','
	}
}

func (f *family) end(v float64) {
	f.buf = append(appendNumber(append(f.buf, ' '), v), '\n')
	f.out.Write(f.buf)
}

// appendLabel appends a label value, escaped.
func appendLabel(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c == '\\' || c == '"' || c == '\n' {
			return append(b, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)...)
		}
	}
	return append(b, s...)
}

func appendNumber(b []byte, v float64) []byte {
	switch {
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(b, int64(v), 10)
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}
