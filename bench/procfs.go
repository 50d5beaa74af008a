package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process and machine statistics from /proc. A process tree is its root and every descendant: an nginx is its master
// and its workers.

// tick is the unit of /proc/stat: USER_HZ is 100 in the interface of every Linux port Go runs on.
const tick = 10 * time.Millisecond

// cpuReading is the time each thread of a process tree has spent on a CPU so far, by thread id.
type cpuReading map[int]time.Duration

// since returns the CPU time spent between an earlier reading and this one. Threads that ended in between count as
// zero, which loses at most what they used in the window.
func (r cpuReading) since(earlier cpuReading) time.Duration {
	var sum time.Duration
	for tid, t := range r {
		sum += t - earlier[tid]
	}
	return sum
}

// readCPU reads user plus system time of a process tree in nanoseconds, from the scheduler's own account of each thread.
func readCPU(root int) (cpuReading, error) {
	reading := cpuReading{}
	err := eachProcess(root, func(dir string) error {
		tasks, err := os.ReadDir(filepath.Join(dir, "task"))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, "task", task.Name(), "schedstat"))
			if gone(err) {
				continue
			}
			if err != nil {
				return err
			}
			if reading[tid], err = parseSchedstat(text); err != nil {
				return err
			}
		}
		return nil
	})
	return reading, err
}

// readPss returns the user memory of a process tree in bytes, shared pages divided among those who share them.
func readPss(root int) (int64, error) {
	var sum int64
	err := eachProcess(root, func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
		if err != nil {
			return err
		}
		pss, err := parsePss(text)
		sum += pss
		return err
	})
	return sum, err
}

// countDescriptors returns the number of open descriptors of a process tree.
func countDescriptors(root int) (int, error) {
	count := 0
	err := eachProcess(root, func(dir string) error {
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		count += len(fds)
		return err
	})
	return count, err
}

// readBusy returns the time that all CPUs of the machine have been busy, or used by its host, since boot.
func readBusy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(text)
}

// eachProcess calls f with the /proc directory of root and of each of its descendants. A descendant that ends meanwhile
// is passed over; a root that has ended is an error.
func eachProcess(root int, f func(dir string) error) error {
	if err := f(filepath.Join("/proc", strconv.Itoa(root))); err != nil {
		return fmt.Errorf("process %d: %w", root, err)
	}
	pids, err := descendants(root)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := f(filepath.Join("/proc", strconv.Itoa(pid))); err != nil && !gone(err) {
			return fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return nil
}

// descendants lists the children of root, their children, and so on.
func descendants(root int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		pid, parent, err := parseParent(text)
		if err != nil {
			return nil, err
		}
		children[parent] = append(children[parent], pid)
	}
	found := append([]int(nil), children[root]...)
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found, nil
}

// gone reports whether a /proc read failed because the process has ended: the file is missing, or reading it returns
// "no such process".
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || err != nil && strings.HasSuffix(err.Error(), "no such process")
}

// parseSchedstat returns the first number of a schedstat file: nanoseconds on a CPU.
func parseSchedstat(text []byte) (time.Duration, error) {
	fields := bytes.Fields(text)
	if len(fields) != 3 {
		return 0, fmt.Errorf("schedstat: want 3 fields, got %q", text)
	}
	ns, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return time.Duration(ns), err
}

// parseParent takes the process id and its parent's from a stat file. The name between them is in parentheses and may
// itself hold spaces and parentheses.
func parseParent(text []byte) (pid, parent int, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return 0, 0, fmt.Errorf("stat: no name in %q", text)
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("stat: no parent in %q", text)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text[:open]))); err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	if parent, err = strconv.Atoi(string(fields[1])); err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	return pid, parent, nil
}

// parsePss takes the Pss line of a smaps_rollup file, in bytes.
func parsePss(text []byte) (int64, error) {
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, "Pss:")
		if !ok {
			continue
		}
		kB, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		return kB * 1024, err
	}
	return 0, errors.New("smaps_rollup: no Pss line")
}

// parseBusy sums the first line of /proc/stat without idle and iowait, and without guest time, which user time holds.
func parseBusy(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("/proc/stat: unexpected first line %q", line)
	}
	var sum time.Duration
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if idle, iowait := 3, 4; i != idle && i != iowait {
			sum += time.Duration(ticks) * tick
		}
	}
	return sum, nil
}
