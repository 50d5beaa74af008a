package conf

import (
	"bytes"
	"fmt"
	"testing"
)

// scaleConfigs returns configurations with n servers: in one level, or each in a cluster with a listener and checks.
func scaleConfigs(n int) map[string][]byte {
	var one, many bytes.Buffer
	fmt.Fprint(&one, "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\ncluster = \"c\"\n[cluster.c]\n[[cluster.c.level]]\nservers = [\n")
	for i := range n {
		address := fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255)
		fmt.Fprintf(&one, "  { address = %q, name = \"s%d\", weight = 10 },\n", address, i)
		fmt.Fprintf(&many, "[[listener]]\nname = \"l%d\"\naddress = \"127.0.%d.%d:80\"\ncluster = \"c%[1]d\"\n[cluster.c%[1]d]\n"+
			"[[cluster.c%[1]d.level]]\nservers = [\"%[4]s weight=5\"]\n[[cluster.c%[1]d.check]]\ntype = \"tcp\"\n", i, i>>8, i&255, address)
	}
	fmt.Fprint(&one, "]\n[[cluster.c.check]]\ntype = \"tcp\"\n")
	return map[string][]byte{"one cluster": one.Bytes(), "many clusters": many.Bytes()}
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		for name, text := range scaleConfigs(n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Parse("weir.toml", text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
