// Package weir has no code. Its tests check the import graph and rules that apply to the whole repository.
package weir

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allowed lists the packages of this module that each package may import. A package without an entry fails.
var allowed = map[string][]string{
	"admin":         {"conf", "internal/direntry", "internal/status"},
	"agentcheck":    {"internal/printable"},
	"balance":       {},
	"bench":         {"balance", "conf", "internal/progress"}, // balance: a simulation of its methods
	"checks":        {"agentcheck", "conf", "internal/printable", "internal/procgroup"},
	"cmd/demo":      {},
	"cmd/soak":      {"internal/soak"},
	"cmd/weir":      {"admin", "conf", "internal/cli", "internal/direntry", "internal/engine", "internal/fleet", "internal/fleet/rollout", "internal/reaper", "internal/status"},
	"conf":          {"conf/internal/tree"},
	"l4":            {"balance", "conf", "internal/clienthello", "internal/direntry", "internal/promotion", "internal/proxy"},
	"packaging/man": {},

	"conf/internal/tree": {},

	"internal/clienthello": {}, // bytes from outside, parsed and fuzzed apart from sockets
	"internal/cli":         {"agentcheck", "conf", "internal/convert", "internal/progress", "internal/status", "internal/vip"},
	"internal/convert":     {"internal/nginxconf", "internal/printable"},
	"internal/direntry":    {},
	"internal/discovery":   {"checks", "conf", "internal/nginxconf", "internal/printable", "internal/procgroup"}, // it has the TLS options of the checks
	"internal/engine": {
		"agentcheck", "balance", "checks", "conf", "internal/direntry", "internal/fleet", "internal/fleet/etcd", "internal/fleet/limits", "internal/handover", "internal/history", "internal/hooks", "internal/overlay",
		"internal/netwatch", "internal/privileges", "internal/promotion", "internal/route", "internal/sessionlog", "internal/state", "internal/status", "internal/topology", "internal/vip", "l4", "internal/discovery", "internal/printable",
	},
	"internal/fleet":           {"internal/printable"},
	"internal/fleet/etcd":      {"internal/fleet", "internal/printable"},
	"internal/fleet/fleettest": {"internal/fleet"},
	"internal/fleet/rollout":   {"internal/fleet", "internal/printable"},
	"internal/fleet/limits":    {"internal/fleet"},

	"internal/handover":   {"internal/reaper", "internal/state", "internal/status"},
	"internal/history":    {},
	"internal/hooks":      {"conf", "internal/printable", "internal/procgroup", "internal/status"},
	"internal/nginxconf":  {"conf"}, // the syntax of nginx, for discovery and translation
	"internal/nettest":    {},
	"internal/overlay":    {"conf", "internal/state", "internal/status"},
	"internal/printable":  {}, // text from outside reaches logs and terminals in one way
	"internal/privileges": {},
	"internal/procgroup":  {"internal/reaper"}, // exec checks and exec hooks: one way to run a program and kill what it started
	"internal/progress":   {},                  // commands, the soak and the bench show what they wait for in one way
	"internal/netwatch":   {},
	"internal/promotion":  {}, // the kernel's part of forwarding: program, tables, interfaces
	"internal/proxy":      {},
	"internal/reaper":     {}, // the processes that PID 1 must wait for beside those that it has started
	"internal/route":      {},
	"internal/sessionlog": {"internal/status", "l4"},
	"internal/soak":       {"internal/progress"},
	"internal/state":      {"internal/direntry"},
	"internal/status":     {},
	"internal/vip":        {},
	"internal/topology":   {"checks", "conf", "internal/printable"}, // it asks data stores with the clients of the checks
	"internal/weirtest":   {"internal/nettest", "internal/status"},
	"internal/fleetbed":   {"internal/nettest", "internal/status", "internal/weirtest"}, // test/fleet and the demonstration use it
}

// reserved lists the only packages that may import a package. Test files may import any.
var reserved = map[string][]string{
	// bench sends its own batches of datagrams: a load generator must cost less than the proxy that it measures.
	"unsafe":                {"bench", "internal/privileges", "internal/promotion", "internal/reaper", "l4"},
	"golang.org/x/sys/unix": {"bench", "internal/direntry", "internal/handover", "internal/nettest", "internal/netwatch", "internal/privileges", "internal/promotion", "internal/reaper", "internal/vip", "l4"},
	// cmd uses signals; admin, checks and bench compare errors; checks, bench, hooks, soak and weirtest kill what they
	// started.
	"syscall": {
		"admin", "bench", "checks", "cmd/demo", "cmd/weir", "internal/cli", "internal/direntry", "internal/handover",
		"internal/nettest", "internal/privileges", "internal/procgroup", "internal/reaper", "internal/soak", "internal/fleetbed", "internal/weirtest", "l4",
	},
	"github.com/alicebob/miniredis/v2":         {"cmd/demo"},
	"github.com/jackc/pgx/v5/pgconn":           {"checks"},
	"github.com/jackc/pgx/v5/pgproto3":         {"checks"},
	"go.etcd.io/etcd/client/v3":                {"internal/fleet/etcd"},
	"google.golang.org/grpc":                   {"internal/fleet/etcd"},
	"github.com/cilium/ebpf":                   {"internal/promotion"},
	"github.com/cilium/ebpf/link":              {"internal/promotion"},
	"github.com/vishvananda/netlink":           {"internal/promotion", "internal/route", "internal/vip"},
	"github.com/vishvananda/netlink/nl":        {"internal/netwatch", "internal/vip"},
	"github.com/BurntSushi/toml":               {"conf/internal/tree"},
	"github.com/pelletier/go-toml/v2/unstable": {"conf/internal/tree"},
}

// forbidden lists what a package may not import.
var forbidden = map[string][]string{
	"balance":              {"net", "os", "log", "log/slog"},
	"internal/overlay":     {"net", "os", "log", "log/slog", "time"},
	"internal/proxy":       {"net", "os", "log", "log/slog", "time"},
	"internal/clienthello": {"net", "os", "log", "log/slog", "time"},
	"conf":                 {"net", "log", "log/slog"},
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != "." || entry.Name() == "testdata" || entry.Name() == "tools") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		edges, listed := allowed[dir]
		if !listed {
			t.Errorf("%s: package %s is not listed here", path, dir)
			return nil
		}
		seen[dir] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			if own, ok := strings.CutPrefix(name, "weir/"); ok && !slices.Contains(edges, own) {
				t.Errorf("%s: %s may not import %s", path, dir, own)
			}
			if users, ok := reserved[name]; ok && !slices.Contains(users, dir) {
				t.Errorf("%s: %s is reserved for %v", path, name, users)
			}
			if slices.Contains(forbidden[dir], name) {
				t.Errorf("%s: %s may not import %s", path, dir, name)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.True(t, seen["l4"], "no source found")
}

// TestNoInit keeps init functions out, and files without a concept of their own.
func TestNoInit(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		if object := file.Scope.Lookup("init"); object != nil {
			t.Errorf("%s: no init functions", path)
		}
		switch name := filepath.Base(path); name {
		case "util.go", "utils.go", "common.go", "helpers.go", "types.go":
			t.Errorf("%s: a file is named after its concept", path)
		}
		return nil
	})
	require.NoError(t, err)
}
