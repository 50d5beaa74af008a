package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// newHAProxy measures the installed HAProxy.
func newHAProxy() (product, error) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return product{}, fmt.Errorf("haproxy: %w", err)
	}
	return product{
		name:    "haproxy",
		version: firstLine(path, "-v"),
		command: func(dir string, f forward) ([]string, error) {
			file := filepath.Join(dir, "haproxy.cfg")
			return []string{path, "-db", "-f", file}, os.WriteFile(file, []byte(haproxyConfig(f)), 0o600)
		},
	}, nil
}

// haproxyConfig writes one listening socket per thread. Pipes count against the descriptor limit, so they are allowed
// only where something is spliced; "splice-auto" is not used because HAProxy 2.6 does not splice with it here.
func haproxyConfig(f forward) string {
	// One session is two descriptors; the margin covers the readiness check and sessions that are just ending.
	maxconn := max(8000, f.sessions+300)
	var b strings.Builder
	fmt.Fprintf(&b, "global\n    nbthread %d\n    maxconn %d\n", f.threads, maxconn)
	if f.bulk {
		b.WriteString("    maxpipes 1800\n")
	}
	fmt.Fprintf(&b, "defaults\n    mode tcp\n    maxconn %d\n", maxconn)
	b.WriteString("    timeout connect 5s\n    timeout client 10m\n    timeout server 10m\n")
	method := "roundrobin"
	if f.methods != nil {
		method = f.methods.haproxy
	}
	fmt.Fprintf(&b, "    balance %s\n", method)
	if f.bulk {
		b.WriteString("    option splice-request\n    option splice-response\n")
	}
	fmt.Fprintf(&b, "listen fwd\n    bind %s shards by-thread\n", f.listen)
	check := ""
	if f.checks {
		fmt.Fprintf(&b, "    timeout check %s\n    default-server inter %s fall %d rise 2\n", checkTimeout, checkInterval, checkFall)
		check = " check"
	}
	for i, server := range f.servers {
		fmt.Fprintf(&b, "    server s%d %s%s\n", i+1, server, check)
	}
	return b.String()
}
