package main

import (
	"cmp"
	"time"
)

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
	return cmp.Or(map[metric]string{
		metricRate:        "per second",
		metricCPU:         "proxy CPU each, µs",
		metricP50:         "p50, ms",
		metricP99:         "p99, ms",
		metricBulk:        "GB/s",
		metricBulkCPU:     "proxy CPU per GB, ms",
		metricMemory:      "user memory each, bytes",
		metricDescriptors: "descriptors each",
		metricCores:       "proxy CPU, cores",
		metricLost:        "datagrams lost",
		metricVerdict:     "half of them down, s",
		metricVerdicts:    "all of them down, s",
		metricMachine:     "machine CPU each, µs",
		metricSystem:      "system share of the proxy's CPU",
		metricSleeps:      "sleeps of the proxy each",
		metricSegments:    "TCP segments each",
		metricPureACKs:    "TCP pure ACKs each",
	}[m], string(m))
}

// more reports whether a larger figure is better.
func (m metric) more() bool { return m == metricRate || m == metricBulk }

// micros is a duration in microseconds.
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
