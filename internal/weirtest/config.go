package weirtest

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/nettest"
)

// Config is the configuration most tests need: one listener "l" in front of one cluster "c".
type Config struct {
	Listen   string     // the listener's address; "" = a reserved one
	Runtime  string     // lines for the tables of these names
	Listener string     //
	Cluster  string     //
	Level    string     // lines for every level
	Levels   [][]string // the servers of each level, in the string form
	Checks   string     // whole tables
	More     string     // further tables
}

// OneLevel returns the levels of a configuration with one level.
func OneLevel(s ...string) [][]string { return [][]string{s} }

func (l Config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[runtime]\n%s\n[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\nlevel = \"info\"\nsessions = \"all\"\n", l.Runtime)
	fmt.Fprintf(&b, "[[listener]]\nname = \"l\"\naddress = %q\ncluster = \"c\"\n%s\n", l.Listen, l.Listener)
	fmt.Fprintf(&b, "[cluster.c]\n%s\n", l.Cluster)
	for _, level := range l.Levels {
		fmt.Fprintf(&b, "[[cluster.c.level]]\n%s\nservers = [", l.Level)
		for _, server := range level {
			fmt.Fprintf(&b, "%q, ", server)
		}
		b.WriteString("]\n")
	}
	fmt.Fprintf(&b, "%s\n%s\n", l.Checks, l.More)
	return b.String()
}

// ListenerTables returns the tables of another cluster of one level and a listener of the same name, for Config.More.
func ListenerTables(name, listen string, servers ...string) string {
	return fmt.Sprintf("[[listener]]\nname = %q\naddress = %q\ncluster = %[1]q\n"+
		"[cluster.%[1]s]\n[[cluster.%[1]s.level]]\nservers = [\"%[3]s\"]\n",
		name, listen, strings.Join(servers, `", "`))
}

// UDP makes the listener a UDP listener.
func (l Config) UDP(t *testing.T) Config {
	t.Helper()
	if l.Listen == "" {
		l.Listen = nettest.ReserveDatagrams(t)
	}
	if strings.Contains(l.Listener, "protocol") {
		return l
	}
	if !strings.Contains(l.Listener, "flow_timeout") {
		l.Listener += "\nflow_timeout = \"2s\""
	}
	l.Listener += "\nprotocol = \"udp\""
	return l
}
