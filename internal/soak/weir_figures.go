package soak

// Metrics of the weir under test, and what its process uses.

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// series returns a metric with its labels sorted by name. The values here contain no comma.
func series(key string) string {
	name, labels, found := strings.Cut(strings.TrimSuffix(key, "}"), "{")
	if !found {
		return key
	}
	all := strings.Split(labels, ",")
	slices.Sort(all)
	return name + "{" + strings.Join(all, ",") + "}"
}

// metrics returns the values of /metrics by series.
func (p *weirProcess) metrics() (map[string]float64, error) {
	text, err := p.call(http.MethodGet, "/metrics", "")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
				all[series(line[:i])] = v
			}
		}
	}
	return all, nil
}

// footprint is the process's use of resources that could leak.
type footprint struct {
	descriptors map[string]int // by kind
	goroutines  int
	threads     int
	rss         int64
}

func (p *weirProcess) footprint() (footprint, error) {
	f := footprint{descriptors: map[string]int{}}
	dir := fmt.Sprintf("/proc/%d", p.serving())
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, "fd", e.Name()))
		if err != nil {
			continue
		}
		kind, _, found := strings.Cut(link, ":[")
		if !found {
			kind = "file"
		}
		if rest, anon := strings.CutPrefix(link, "anon_inode:"); anon {
			kind = strings.Trim(rest, "[]")
		}
		f.descriptors[kind]++
	}
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return f, err
	}
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			f.rss = n << 10
		case "Threads:":
			f.threads = int(n)
		}
	}
	m, err := p.metrics()
	if err != nil {
		return f, err
	}
	f.goroutines = int(m["go_goroutines"])
	return f, nil
}
