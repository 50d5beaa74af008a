package main

import "time"

// metric is a kind of figure; its text is its key in the raw results.
type metric string

const (
	metricRate        metric = "per_second"
	metricCPU         metric = "cpu_us"
	metricP50         metric = "p50_ms"
	metricP99         metric = "p99_ms"
	metricBulk        metric = "gb_per_second"
	metricBulkCPU     metric = "cpu_ms_per_gb"
	metricMemory      metric = "pss_bytes"
	metricDescriptors metric = "descriptors"
	metricCores       metric = "cores"
	metricVerdict     metric = "verdict_s"
	metricLost        metric = "lost"
	metricVerdicts    metric = "verdicts_s"

	// Where the cost of a unit of work is. These figures have no target.
	metricMachine  metric = "machine_us"   // of all processes and the kernel
	metricSystem   metric = "system_share" // of the proxy's CPU time
	metricSleeps   metric = "sleeps"       // of the proxy's threads
	metricSegments metric = "segments"     // sent by clients, proxy and servers
	metricPureACKs metric = "pure_acks"    // received by them
)

// costMetrics are the figures about where the cost is.
func costMetrics() []metric {
	return []metric{metricMachine, metricSystem, metricSleeps, metricSegments, metricPureACKs}
}

// title names the figure and its unit.
func (m metric) title() string {
	switch m {
	case metricRate:
		return "per second"
	case metricCPU:
		return "proxy CPU each, µs"
	case metricP50:
		return "p50, ms"
	case metricP99:
		return "p99, ms"
	case metricBulk:
		return "GB/s"
	case metricBulkCPU:
		return "proxy CPU per GB, ms"
	case metricMemory:
		return "user memory each, bytes"
	case metricDescriptors:
		return "descriptors each"
	case metricCores:
		return "proxy CPU, cores"
	case metricLost:
		return "datagrams lost"
	case metricVerdict:
		return "half of them down, s"
	case metricVerdicts:
		return "all of them down, s"
	case metricMachine:
		return "machine CPU each, µs"
	case metricSystem:
		return "system share of the proxy's CPU"
	case metricSleeps:
		return "sleeps of the proxy each"
	case metricSegments:
		return "TCP segments each"
	case metricPureACKs:
		return "TCP pure ACKs each"
	}
	return string(m)
}

// more reports whether a larger figure is better.
func (m metric) more() bool { return m == metricRate || m == metricBulk }

// micros is a duration in microseconds.
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
