package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCPUQuota(t *testing.T) {
	const (
		v2     = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		v2sub  = "29 23 0:26 /system.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		v1     = "30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
		v1dock = "30 25 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
		space  = "29 23 0:26 / /mnt/c\\040g rw - cgroup2 none rw\n"
	)
	for name, c := range map[string]struct {
		cgroup, mounts string
		files          map[string]string
		want           float64
	}{
		"no cgroup":            {want: 0},
		"v2 without limit":     {"0::/a\n", v2, map[string]string{"/sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 0},
		"v2":                   {"0::/a\n", v2, map[string]string{"/sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5},
		"v2, own root":         {"0::/\n", v2, map[string]string{"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5},
		"v2, parent is less":   {"0::/a/b\n", v2, map[string]string{"/sys/fs/cgroup/a/b/cpu.max": "400000 100000", "/sys/fs/cgroup/a/cpu.max": "200000 100000"}, 2},
		"v2, child is less":    {"0::/a/b\n", v2, map[string]string{"/sys/fs/cgroup/a/b/cpu.max": "100000 100000", "/sys/fs/cgroup/a/cpu.max": "200000 100000"}, 1},
		"v2, part is mounted":  {"0::/system.slice/a\n", v2sub, map[string]string{"/sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3},
		"v2, outside":          {"0::/../b\n", v2, map[string]string{"/sys/fs/cgroup/cpu.max": "300000 100000"}, 3},
		"v2, space in path":    {"0::/a\n", space, map[string]string{"/mnt/c g/a/cpu.max": "300000 100000"}, 3},
		"v2, malformed":        {"0::/a\n", v2, map[string]string{"/sys/fs/cgroup/a/cpu.max": "x y"}, 0},
		"v1":                   {"4:cpu,cpuacct:/a\n0::/\n", v1, map[string]string{"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, 2.5},
		"v1 without limit":     {"4:cpu,cpuacct:/a\n", v1, map[string]string{"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, 0},
		"v1 in a container":    {"4:cpu,cpuacct:/docker/abc\n", v1dock, map[string]string{"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 1},
		"v1, other controller": {"4:cpuset:/a\n", v1, map[string]string{"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "100000\n", "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, c.want, cpuQuota(func(file string) string {
				switch file {
				case "/proc/self/cgroup":
					return c.cgroup
				case "/proc/self/mountinfo":
					return c.mounts
				}
				return c.files[file]
			}), 1e-9)
		})
	}
}
