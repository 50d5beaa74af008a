package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// newWeir measures a weir binary under the given product name.
func newWeir(name, binary string) (product, error) {
	if binary == "" {
		return product{}, fmt.Errorf("%s: no binary given", name)
	}
	path, err := filepath.Abs(binary)
	if err != nil {
		return product{}, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := os.Stat(path); err != nil {
		return product{}, fmt.Errorf("%s: no binary: %w", name, err)
	}
	return product{
		name:    name,
		version: binaryVersion(path),
		command: func(dir string, f forward) ([]string, error) {
			file := filepath.Join(dir, "weir.toml")
			return []string{path, "run", "-c", file}, os.WriteFile(file, []byte(weirConfig(f)), 0o600)
		},
	}, nil
}

// weirConfig writes plain forwarding; like the peers' it has no logs and no health rules by default.
func weirConfig(f forward) string {
	var servers strings.Builder
	for _, server := range f.servers {
		fmt.Fprintf(&servers, "  %q,\n", server)
	}
	level, checks := "error", ""
	if f.checks {
		level = "warn"
		checks = fmt.Sprintf("\n[[cluster.c.check]]\ntype = \"tcp\"\ninterval = %q\ntimeout = %q\nfall = %d\nrise = 2\n", checkInterval, checkTimeout, checkFall)
	}
	method := ""
	if f.methods != nil {
		method = fmt.Sprintf("balance = %q\n", f.methods.weir)
	}
	udp := ""
	if f.udp {
		udp = fmt.Sprintf("protocol = \"udp\"\nresponses = %d\n", f.responses)
	}
	return fmt.Sprintf(`[runtime]
loops = %d

[log]
sessions = "off"
level = %q

[[listener]]
name = "fwd"
address = %q
cluster = "c"
%s
[cluster.c]
max_fails = 0
protected = false
%s
[[cluster.c.level]]
servers = [
%s]
%s`, f.threads, level, f.listen, udp, method, servers.String(), checks)
}

// binaryVersion returns the commit that a Go binary was built from.
func binaryVersion(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "unknown build"
	}
	version := info.GoVersion
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			version = "commit " + setting.Value[:min(12, len(setting.Value))] + ", " + version
		case setting.Key == "vcs.modified" && setting.Value == "true":
			version += ", with uncommitted changes"
		}
	}
	return version
}
