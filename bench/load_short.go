package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// shortConnections drives the web server with connections that carry one request and its response each; the server
// closes them.
func shortConnections(ctx context.Context, t *trial) (values, error) {
	load, err := t.measure(ctx, []string{
		"wrk", "-t", "2", "-c", strconv.Itoa(t.row.clients), "-d", fmt.Sprintf("%.0fs", t.window.Seconds()),
		"-H", "Connection: close", "http://" + t.target + "/",
	})
	if err != nil {
		return nil, err
	}
	result, err := parseWrk(load.out)
	if err != nil {
		return nil, err
	}
	t.notes.Failures = result.failures
	v := t.costs(load, result.requests)
	v[metricRate] = result.rate
	return v, nil
}

// wrkResult is the result of one wrk run.
type wrkResult struct {
	requests int     // in all
	rate     float64 // per second
	failures int     // connections that failed, and answers that were not 2xx or 3xx
}

// parseWrk reads wrk's text.
func parseWrk(out []byte) (wrkResult, error) {
	var r wrkResult
	var err error
	for _, field := range []struct {
		pattern string
		set     func(string) error
		must    bool
	}{
		{`(?m)^\s*(\d+) requests in `, func(s string) error { r.requests, err = strconv.Atoi(s); return err }, true},
		{`(?m)^Requests/sec:\s*([\d.]+)`, func(s string) error { r.rate, err = strconv.ParseFloat(s, 64); return err }, true},
		{`Socket errors: (.*)`, func(s string) error { r.failures += sumNumbers(s); return nil }, false},
		{`Non-2xx or 3xx responses: (\d+)`, func(s string) error { r.failures += sumNumbers(s); return nil }, false},
	} {
		match := regexp.MustCompile(field.pattern).FindSubmatch(out)
		if match == nil && !field.must {
			continue
		}
		if match == nil {
			return r, fmt.Errorf("wrk: no %q in %q", field.pattern, out)
		}
		if err := field.set(string(match[1])); err != nil {
			return r, fmt.Errorf("wrk: %w", err)
		}
	}
	if r.requests == 0 {
		return r, fmt.Errorf("wrk: no request was answered: %q", out)
	}
	return r, nil
}

// sumNumbers adds the whole numbers in a text.
func sumNumbers(s string) int {
	sum := 0
	for _, digits := range regexp.MustCompile(`\d+`).FindAllString(s, -1) {
		n, _ := strconv.Atoi(digits) // digits only; too many of them count as the largest int
		sum += n
	}
	return sum
}
