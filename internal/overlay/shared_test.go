package overlay

import (
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

func parse(t *testing.T, more string) *conf.Config {
	t.Helper()
	c, err := conf.Parse("weir.toml", []byte(more+`
[[listener]]
name = "l"
address = ":1"
cluster = "c"
[[cluster.c.level]]
servers = ["10.0.0.1:1", "10.0.0.2:1"]
`))
	require.NoError(t, err)
	return c
}

func TestSharedChangesAreTheSameElsewhere(t *testing.T) {
	file := parse(t, "")
	o, _, err := Overlay{}.AddServer(file, "c", []byte(`{"name": "new", "address": "10.0.0.3:1", "weight": 4}`))
	require.NoError(t, err)
	o, err = o.RemoveServer(file, "c", "10.0.0.1:1", false)
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, Overlay(nil).Changed(o))
	there, err := Overlay(nil).WithShared("c", o.Shared("c"), file)
	require.NoError(t, err)
	require.Empty(t, o.Changed(there))
	cfg, _, err := there.Apply(file)
	require.NoError(t, err)
	require.NotNil(t, cfg.Cluster("c").Server("new"))
	require.Nil(t, cfg.Cluster("c").Server("10.0.0.1:1"))
	back, err := there.WithShared("c", nil, file)
	require.NoError(t, err)
	require.Empty(t, back)
	require.Nil(t, back.Shared("c"))
}

func TestSharedChangesRunNoPrograms(t *testing.T) {
	file := parse(t, "[admin]\nallow_programs = true\n")
	for text, key := range map[string]string{
		`{"created":true,"replacement":{"levels":[{"servers":["10.0.0.1:1"]}],"checks":[{"type":"exec","command":["/bin/true"]}]}}`:        "checks[0].type",
		`{"created":true,"replacement":{"levels":[{"servers":["10.0.0.1:1"]}],"checks":[{"type":"redis","password":"x"}]}}`:                "checks[0].password",
		`{"created":true,"replacement":{"levels":[{"servers":["10.0.0.1:1"]}],"checks":[{"type":"redis","password_file":"/etc/passwd"}]}}`: "checks[0].password_file",
		`{"added":[{"level":"1","server":{"address":"unix:/run/docker.sock"}}]}`:                                                           "address",
		`{"added":[{"level":"1","server":"unix:/run/docker.sock"}]}`:                                                                       "address",
	} {
		_, err := Overlay{}.WithShared("c", []byte(text), file)
		require.ErrorContains(t, err, key, text)
		require.NotEmpty(t, Unshareable([]byte(text)))
	}
	for _, text := range []string{`{`, `[]`, `{"created":true}`, `{"added":[{}]}`, `{"added":[{"level":"9","server":"nonsense:x:y"}]}`} {
		_, err := Overlay{}.WithShared("c", []byte(text), file)
		require.Error(t, err, text)
	}
}
