package conf

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// repeat returns n lines with the numbers from 0 on. The format may use the number as %[1]d.
func repeat(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i)
	}
	return b.String()
}

// Texts with many errors, and texts whose parts would be compared each with each, cost little time and memory, however they are made:
// a client of the API may send them, each of at most 4 MB and 300,000 keys and values.
func TestTextOfManyErrorsCostsLittleTime(t *testing.T) {
	level := "[[cluster.x.level]]\nservers = [\n"
	listener := "[[listener]]\nname = \"l%[1]d\"\naddress = \"unix:/l%[1]d\"\ncluster = \"x\"\n"
	first := fmt.Sprintf(listener, 0)
	for name, text := range map[string]string{
		"unknown keys":               first + repeat(40_000, "bakclog%[1]d = 1") + level + "\"a:1\"]",
		"unknown keys of clusters":   first + repeat(20_000, "[cluster.c%[1]d]\nbalanc = 1\n"),
		"unknown tables":             repeat(40_000, "[[lisener%[1]d]]"),
		"wrong values":               first + level + repeat(40_000, "{ address = \"a:1\", weight = \"x\" },") + "]",
		"wrong words":                first + repeat(40_000, "[[cluster.x.check]]\ntype = \"htpt\""),
		"empty listeners":            strings.Repeat("[[listener]]\n", 75_000),
		"empty clusters":             repeat(75_000, "[cluster.c%[1]d]"),
		"repeated keys":              first + strings.Repeat("a = 1\n", 75_000),
		"repeated keys in one line":  first + "a = {" + strings.Repeat("a = 1,", 40_000) + "a = 1}",
		"repeated keys in long line": first + strings.Repeat("a = {"+strings.Repeat("a=1,", 15_000)+"b=1}\n", 15),
		"repeated tables":            strings.Repeat("[a]\n", 75_000),
		"broken lines":               first + strings.Repeat("a b\n", 40_000),
		"broken lists":               strings.Repeat("a = [1, 2\n", 40_000),
		"wrong numbers":              first + repeat(75_000, "a%[1]d = 1__0"),
		"wrong dates":                first + repeat(75_000, "a%[1]d = 2021-02-30"),
		"long text, wrong numbers":   first + "a = \"" + strings.Repeat("x", 3_900_000) + "\"\n" + repeat(60, "a%[1]d = 1__0"),
		"undefined clusters":         repeat(15_000, "[[listener]]\nname = \"l%[1]d\"\naddress = \"unix:/l%[1]d\"\ncluster = \"y%[1]d\"\n[[cluster.x%[1]d.level]]\nservers = [\"a:1\"]"),
		"undefined servers":          first + level + repeat(100_000, "\"a:1 name=a%[1]d\",") + "]\n[[cluster.x.check]]\ntype = \"tcp\"\nservers = [" + repeat(40_000, "\"b%[1]d\",") + "]",
		"undefined levels":           first + "levels = [" + repeat(40_000, "\"b%[1]d\",") + "]\n" + repeat(50_000, "[[cluster.x.level]]\nname = \"a%[1]d\""),
		"undefined shares":           first + "[[listener.route]]\nsplit = {" + strings.ReplaceAll(repeat(75_000, "y%[1]d = 1,"), "\n", " ") + "y = 1}\n" + level + "\"a:1\"]",
		"many names":                 first + "[[listener.route]]\ncluster = \"x\"\nsni = [" + repeat(200_000, "\"a%[1]d\",") + "]\n" + level + "]",
		"many covered names":         first + strings.Repeat("[[listener.route]]\ncluster = \"x\"\nsni = ["+repeat(90_000, "\"a%[1]d\",")+"]\n", 2) + level + "]",
		"vip of many clusters":       first + "[[vip]]\naddress = \"10.0.0.1/32\"\ninterface = \"lo\"\nclusters = [" + repeat(200_000, "\"a%[1]d\",") + "]\n" + level + "]",
		"udp and unix sockets":       strings.ReplaceAll(repeat(20_000, "[[listener]]\nname = \"l%[1]d\"\naddress = \"127.0.0.1:%[1]d\"\ncluster = \"x\"\nprotocol = \"udp\""), "1:0\"", "1:65000\"") + level + repeat(100_000, "\"unix:/a%[1]d\",") + "]",
		"loops":                      repeat(20_000, listener) + level + repeat(100_000, "\"unix:/l1 name=a%[1]d\",") + "]",
		"levels of listeners":        repeat(20_000, listener) + repeat(30_000, "[[cluster.x.level]]\nservers = [\"unix:/l1 name=a%[1]d\"]"),
		"same ports":                 "[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:1-65000\"\ncluster = \"x\"\n" + level + repeat(100_000, "\"127.0.1.%[1]d port=same\",") + "]",
		"checks":                     first + level + repeat(100_000, "\"a:1 name=a%[1]d\",") + "]\n" + repeat(40_000, "[[cluster.x.check]]\ntype = \"tcp\"\nid = \"t%[1]d\"") + "typ = 1",
		"agents":                     first + level + repeat(100_000, "\"a:1 name=a%[1]d\",") + "]\n" + repeat(40_000, "[[cluster.x.check]]\ntype = \"agent\"\nport = 1\nid = \"t%[1]d\""),
	} {
		t.Run(name, func(t *testing.T) {
			start := cpuTime(t)
			_, err := Parse("weir.toml", []byte(text))
			took := cpuTime(t) - start
			t.Logf("%v for %d kB", took.Round(time.Millisecond), len(text)>>10)
			require.Error(t, err)
			require.LessOrEqual(t, len(err.(Errors)), maxDiagnostics)
			require.Less(t, took, 10*time.Second) // a tenth of that without the race detector
		})
	}
}
