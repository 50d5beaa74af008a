package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// processTimes are figures of a process tree since its start. Times are in steps of 10 ms.
type processTimes struct {
	user, system time.Duration
	sleeps       int64 // how often a thread has blocked
}

func (p processTimes) since(earlier processTimes) processTimes {
	return processTimes{p.user - earlier.user, p.system - earlier.system, p.sleeps - earlier.sleeps}
}

// readTimes reads the times and the sleeps of a process tree.
func readTimes(root int) (sum processTimes, err error) {
	err = eachProcess(root, func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			return err
		}
		user, system, err := parseTimes(text)
		if err != nil {
			return err
		}
		sum.user += user
		sum.system += system
		tasks, err := filepath.Glob(filepath.Join(dir, "task", "*", "status"))
		if err != nil {
			return err
		}
		for _, name := range tasks {
			text, err := os.ReadFile(name)
			if gone(err) {
				continue
			}
			if err != nil {
				return err
			}
			n, err := parseSleeps(text)
			if err != nil {
				return err
			}
			sum.sleeps += n
		}
		return nil
	})
	return sum, err
}

// parseTimes takes the user and the system time from a stat file of a process.
func parseTimes(text []byte) (user, system time.Duration, err error) {
	const userField, systemField = 11, 12 // after the name
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= systemField {
		return 0, 0, fmt.Errorf("stat: too few fields in %q", text)
	}
	u, err := strconv.ParseInt(string(fields[userField]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	s, err := strconv.ParseInt(string(fields[systemField]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	return time.Duration(u) * tick, time.Duration(s) * tick, nil
}

// parseSleeps takes the number of voluntary context switches from a status file of a thread.
func parseSleeps(text []byte) (int64, error) {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, fmt.Errorf("status: no voluntary_ctxt_switches line")
}

// tcpCounts are counters of this network namespace.
type tcpCounts struct {
	sent     int64 // segments, those without data included
	pureACKs int64 // received segments that only acknowledge
}

func (c tcpCounts) since(earlier tcpCounts) tcpCounts {
	return tcpCounts{c.sent - earlier.sent, c.pureACKs - earlier.pureACKs}
}

func readTCPCounts() (c tcpCounts, err error) {
	if c.sent, err = readCounter("/proc/net/snmp", "Tcp:", "OutSegs"); err != nil {
		return c, err
	}
	c.pureACKs, err = readCounter("/proc/net/netstat", "TcpExt:", "TCPPureAcks")
	return c, err
}

func readCounter(file, group, name string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := parseCounter(text, group, name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

// parseCounter takes a counter from a file in which a line of names precedes each line of values, both beginning with
// the group.
func parseCounter(text []byte, group, name string) (int64, error) {
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, field := range fields {
			if i < len(names) && names[i] == name {
				return strconv.ParseInt(field, 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, group)
}
