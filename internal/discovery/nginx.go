package discovery

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weir/conf"
	"weir/internal/nginxconf"
)

// newNginx returns a provider that reads the servers of an upstream block of a configuration of nginx, with its includes.
func newNginx(spec *conf.Discover) Provider {
	return &file{path: spec.Path, always: true, readAll: func() (Answer, []version, error) {
		list, err := nginxconf.ReadFile(spec.Path)
		read := nginxVersions(spec.Path, list)
		if err != nil {
			return Answer{}, read, err
		}
		a, err := upstreamServers(list, spec.Upstream, spec.OnlyBackup)
		if err != nil {
			err = fmt.Errorf("%s: %w", spec.Path, err)
		}
		return a, read, err
	}}
}

// nginxVersions returns the versions of the files of a configuration and of their directories, in which files that an include
// matches may appear.
func nginxVersions(path string, list []*nginxconf.Directive) (read []version) {
	paths := map[string]bool{path: true}
	var walk func([]*nginxconf.Directive)
	walk = func(list []*nginxconf.Directive) {
		for _, d := range list {
			paths[d.File] = true
			walk(d.Block)
		}
	}
	walk(list)
	for p := range paths {
		read = append(read, versionOf(p))
		if dir := filepath.Dir(p); !paths[dir] {
			paths[dir] = true
			read = append(read, versionOf(dir))
		}
	}
	return read
}

// upstreamServers returns the servers of the upstream block with a name: of http or stream, or of an included file.
func upstreamServers(list []*nginxconf.Directive, name string, onlyBackup bool) (a Answer, err error) {
	block := findUpstream(list, name, 0)
	if block == nil {
		return a, fmt.Errorf("upstream %s not found", name)
	}
	for _, d := range block.Block {
		if d.Name != "server" {
			continue
		}
		address, labels, backup, err := upstreamServer(d)
		switch {
		case err != nil:
			a.Reject(d.Arg(0), "%s:%d: %s", filepath.Base(d.File), d.Line, err)
		case backup == onlyBackup:
			a.add(address, labels)
		}
	}
	return a, nil
}

// findUpstream returns the first upstream block with a name, at the top level or in a block.
func findUpstream(list []*nginxconf.Directive, name string, depth int) *nginxconf.Directive {
	for _, d := range list {
		if d.Name == "upstream" && d.Block != nil && d.Arg(0) == name {
			return d
		}
		if (d.Name == "http" || d.Name == "stream") && depth == 0 {
			if found := findUpstream(d.Block, name, depth+1); found != nil {
				return found
			}
		}
	}
	return nil
}

// upstreamServer returns the address of a server directive, its parameters as options, and whether it is a backup server.
func upstreamServer(d *nginxconf.Directive) (address string, options map[string]string, backup bool, err error) {
	if len(d.Args) == 0 {
		return "", nil, false, fmt.Errorf("server without an address")
	}
	address, options = withPort(d.Args[0]), map[string]string{}
	for _, arg := range d.Args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "weight":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return "", nil, false, fmt.Errorf("weight %q", value)
			}
			options["weight"] = strconv.Itoa(min(n, maxWeight))
		case "max_fails":
			options["max_fails"] = value
		case "max_conns":
			options["max_sessions"] = value
		case "fail_timeout":
			timeout, err := nginxTime(value)
			if err != nil {
				return "", nil, false, err
			}
			options["fail_timeout"] = timeout.String()
		case "down":
			options["state"] = "maint"
		case "backup":
			backup = true
		}
	}
	return address, options, backup, nil
}

// withPort adds the port 80, which nginx uses by default in http.
func withPort(address string) string {
	switch end := strings.LastIndexByte(address, ':'); {
	case strings.HasPrefix(address, "unix:"):
	case strings.HasPrefix(address, "["):
		if end < strings.IndexByte(address, ']') {
			return address + ":80"
		}
	case end < 0:
		return address + ":80"
	}
	return address
}

// nginxTime parses a time of nginx, such as 30, 500ms or 1m30s.
func nginxTime(s string) (total time.Duration, err error) {
	units := []struct {
		name string
		unit time.Duration
	}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour}}
	wrong := fmt.Errorf("time %q", s)
	rest := s
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 32)
		if err != nil {
			return 0, wrong
		}
		rest = rest[digits:]
		unit := time.Second
		if rest != "" {
			known := false
			for _, u := range units {
				if after, ok := strings.CutPrefix(rest, u.name); ok {
					unit, rest, known = u.unit, after, true
					break
				}
			}
			if !known {
				return 0, wrong
			}
		}
		total += time.Duration(n) * unit
	}
	if s == "" || total < 0 || total > 10*365*24*time.Hour {
		return 0, wrong
	}
	return total, nil
}
