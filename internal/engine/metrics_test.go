package engine_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/engine"
	"weir/internal/nettest"
)

// BenchmarkMetrics measures the snapshot for a scrape of 10,000 servers.
func BenchmarkMetrics(b *testing.B) {
	var servers strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&servers, "\"10.1.%d.%d:6379\",", i/250, i%250+1)
	}
	cfg, err := conf.Parse("weir.toml", []byte(fmt.Sprintf("[[listener]]\nname = \"l\"\naddress = %q\ncluster = \"c\"\n[[cluster.c.level]]\nservers = [%s]\n"+
		"[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"1h\"\n", nettest.Reserve(b), servers.String())))
	require.NoError(b, err)
	e, err := engine.Start(cfg, engine.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	defer e.Stop(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		e.Metrics()
	}
}
