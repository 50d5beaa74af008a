package main

import (
	"os"
	"runtime"
	"strings"
)

// machine is the machine of a measurement.
type machine struct {
	CPUs   int    `json:"cpus"`
	Model  string `json:"model"`
	Kernel string `json:"kernel"`
}

func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), Model: "unknown CPU", Kernel: "unknown kernel"}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				m.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

// toolVersions names the load generators and servers.
func toolVersions() []string {
	return []string{
		firstLine("redis-server", "--version"),
		firstLine("redis-benchmark", "--version"),
		firstLine("wrk", "--version"),
	}
}
