package main

// The number of CPUs that the process may use. Package runtime counts at least two for a smaller quota of a cgroup, so that
// the garbage collector runs beside the program; event loops that outnumber the CPUs only wait for each other.

import (
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// usableCPUs returns the number of CPUs of the affinity mask, or the CPU quota of the cgroup, rounded up, if that is less.
func usableCPUs() int {
	cpus := runtime.NumCPU()
	quota := cpuQuota(func(name string) string {
		text, _ := os.ReadFile(name)
		return string(text)
	})
	if quota > 0 && quota < float64(cpus) {
		return max(1, int(math.Ceil(quota)))
	}
	return cpus
}

// cpuQuota returns the CPUs that the cgroup of this process and its parents, as far as they are visible, may use (cgroup
// versions 1 and 2), or 0 if there is no limit. read returns the content of a file, or "" if it cannot be read.
func cpuQuota(read func(name string) string) (cpus float64) {
	mounts := read("/proc/self/mountinfo")
	for line := range strings.Lines(read("/proc/self/cgroup")) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy, controllers, path
		if len(fields) != 3 || fields[1] != "" && !slices.Contains(strings.Split(fields[1], ","), "cpu") {
			continue
		}
		unified := fields[1] == ""
		mount, root := cgroupMount(mounts, unified)
		if mount == "" {
			continue
		}
		within, ok := strings.CutPrefix(fields[2], strings.TrimSuffix(root, "/"))
		if !ok || strings.HasPrefix(within, "/..") {
			within = "" // the mount shows another part of the hierarchy
		}
		for dir := path.Join("/", within); ; dir = path.Dir(dir) {
			quota := quotaOf(read, path.Join(mount, dir), unified)
			if quota > 0 && (cpus == 0 || quota < cpus) {
				cpus = quota
			}
			if dir == "/" {
				break
			}
		}
	}
	return cpus
}

// cgroupMount returns where the hierarchy with the CPU controller is mounted, and which directory of it (proc(5),
// mountinfo).
func cgroupMount(mounts string, unified bool) (mount, root string) {
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		fields, system := strings.Fields(before), strings.Fields(after) // ID, parent, device, root, mount …; type, source, options
		if len(fields) < 5 || len(system) < 3 {
			continue
		}
		if unified && system[0] == "cgroup2" || !unified && system[0] == "cgroup" && slices.Contains(strings.Split(system[2], ","), "cpu") {
			return unescapeMount(fields[4]), unescapeMount(fields[3])
		}
	}
	return "", ""
}

// unescapeMount replaces the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// quotaOf returns the CPU quota of one cgroup, or 0 if it has none.
func quotaOf(read func(string) string, dir string, unified bool) float64 {
	var quota, period string
	if unified {
		if fields := strings.Fields(read(path.Join(dir, "cpu.max"))); len(fields) == 2 {
			quota, period = fields[0], fields[1]
		}
	} else {
		quota = strings.TrimSpace(read(path.Join(dir, "cpu.cfs_quota_us")))
		period = strings.TrimSpace(read(path.Join(dir, "cpu.cfs_period_us")))
	}
	q, err := strconv.ParseFloat(quota, 64) // "max" and -1 mean no limit
	p, err2 := strconv.ParseFloat(period, 64)
	if err != nil || err2 != nil || q <= 0 || p <= 0 {
		return 0
	}
	return q / p
}
