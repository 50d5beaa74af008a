package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// weir check warns of interfaces that this host lacks, with the position of the key.
func TestPromotionWarnings(t *testing.T) {
	parse := func(interfaces string) *conf.Config {
		cfg, err := conf.Parse("weir.toml", []byte("[runtime]\npromote_interfaces = "+interfaces+"\n"+`[[listener]]
name = "l"
address = "127.0.0.1:7000"
protocol = "udp"
promote = "auto"
cluster = "c"
[[cluster.c.level]]
servers = ["127.0.0.1:7001"]
`))
		require.NoError(t, err)
		return cfg
	}
	require.Empty(t, PromotionWarnings(parse(`["lo"]`)))
	require.Empty(t, PromotionWarnings(parse(`[]`)))
	list := PromotionWarnings(parse(`["lo", "nosuch0"]`))
	require.Len(t, list, 1)
	require.Equal(t, "weir.toml:2:22: runtime.promote_interfaces: interface nosuch0: this host has no such network interface", list[0].String())
}
