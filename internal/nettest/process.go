package nettest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Process reads kernel data on a process.
type Process int

// Self returns the test's own process.
func Self() Process { return Process(os.Getpid()) }

// Descriptors are the open files of a process: number → target, such as "socket:[4711]" or "/dev/null".
type Descriptors map[int]string

// Descriptors returns the open files. It is empty if the process has ended.
func (p Process) Descriptors() Descriptors {
	dir := fmt.Sprintf("/proc/%d/fd", int(p))
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	out := Descriptors{}
	for _, name := range names {
		number, _ := strconv.Atoi(name)
		link, err := os.Readlink(filepath.Join(dir, name))
		if err != nil || int(p) == os.Getpid() && number == int(f.Fd()) {
			continue // closed meanwhile, or the listing itself
		}
		out[number] = link
	}
	return out
}

// Kinds counts descriptors by kind: socket, pipe, eventpoll, eventfd and so on; file for those with a path.
func (d Descriptors) Kinds() map[string]int {
	out := map[string]int{}
	for _, link := range d {
		out[kindOf(link)]++
	}
	return out
}

func kindOf(link string) string {
	if rest, ok := strings.CutPrefix(link, "anon_inode:"); ok {
		return strings.Trim(rest, "[]")
	}
	if kind, _, ok := strings.Cut(link, ":["); ok {
		return kind
	}
	return "file"
}

// Since returns descriptors that were not open before, sorted.
func (d Descriptors) Since(before Descriptors) []string {
	known := map[string]int{}
	for _, link := range before {
		known[link]++
	}
	var out []string
	for number, link := range d {
		if known[link]--; known[link] < 0 {
			out = append(out, fmt.Sprintf("%d → %s", number, link))
		}
	}
	slices.Sort(out)
	return out
}

// Listening returns the number of listening TCP and unix sockets, of unconnected UDP sockets, and of netlink sockets in a
// group. The kernel's tables are read several times: a read beside changes by other processes can miss a socket.
func (p Process) Listening() int {
	inodes := map[string]bool{}
	read := func(name string, inode, state int, listens string, first bool) {
		file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", int(p), name))
		if err != nil {
			return
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Scan() // the titles
		for lines.Scan() {
			if f := strings.Fields(lines.Text()); len(f) > max(inode, state) && f[state] == listens {
				inodes["socket:["+f[inode]+"]"] = true
			} else if first {
				return
			}
		}
	}
	for range 3 {
		// Sockets that listen come before all others, which can be tens of thousands.
		read("tcp", 9, 3, "0A", true)
		read("tcp6", 9, 3, "0A", true)
		read("udp", 9, 3, "07", false)
		read("udp6", 9, 3, "07", false)
		read("unix", 6, 3, "00010000", false)
		read("netlink", 9, 3, "00000111", false) // links and addresses
		read("netlink", 9, 3, "000405d1", false) // and routes and rules
	}
	n := 0
	for _, link := range p.Descriptors() {
		if inodes[link] {
			n++
		}
	}
	return n
}

// AdoptOrphans makes this process the parent of descendants whose own parents have ended. The caller must wait for
// them.
func AdoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Wait waits for a child of this process that no exec.Cmd waits for, and returns its exit code: -1 if it was killed or
// is not a child.
func (p Process) Wait() int {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(int(p), &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return -1
		default:
			return status.ExitStatus()
		}
	}
}

// Alive reports whether the process runs. A zombie does not.
func (p Process) Alive() bool {
	fields := p.stat()
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

// Children returns the child processes.
func (p Process) Children() (list []Process) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", int(p)))
	for _, word := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(word); err == nil {
			list = append(list, Process(n))
		}
	}
	return list
}

// Threads returns the number of kernel threads.
func (p Process) Threads(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(p.mustStat(t)[17])
	require.NoError(t, err)
	return n
}

// CPUTime returns the processor time used so far, user and system, by all threads.
func (p Process) CPUTime(t testing.TB) time.Duration {
	t.Helper()
	var used unix.Timespec
	clock := ^int32(p)<<3 | 2 // clock_getcpuclockid(3): CPUCLOCK_SCHED of a process
	require.NoError(t, unix.ClockGettime(clock, &used))
	return time.Duration(used.Nano())
}

// SchedulingDelay returns how long the threads of the process, in total, were ready to run without a processor; 0 if
// the kernel does not provide it.
func (p Process) SchedulingDelay() time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", int(p)))
	total := time.Duration(0)
	for _, name := range files {
		text, _ := os.ReadFile(name)
		var ran, waited int64
		if n, _ := fmt.Sscan(string(text), &ran, &waited); n == 2 {
			total += time.Duration(waited)
		}
	}
	return total
}

// stat returns the fields of /proc/PID/stat from the state on: the third field has index 0.
func (p Process) stat() []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", int(p)))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
}

func (p Process) mustStat(t testing.TB) []string {
	t.Helper()
	fields := p.stat()
	require.NotEmpty(t, fields, "process %d is gone", int(p))
	return fields
}

// RSS returns the resident memory in bytes.
func (p Process) RSS(t testing.TB) int64 { t.Helper(); return p.rollup(t, "Rss:") }

// PSS returns the resident memory in bytes, with shared pages divided among the processes that share them.
func (p Process) PSS(t testing.TB) int64 { t.Helper(); return p.rollup(t, "Pss:") }

func (p Process) rollup(t testing.TB, key string) int64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", int(p)))
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == key {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			require.NoError(t, err)
			return kb << 10
		}
	}
	t.Fatalf("no %s for process %d", key, int(p))
	return 0
}
