package conf

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const hookConfig = `
[[listener]]
name = "a"
address = "127.0.0.1:80"
cluster = "web"
[[cluster.web.level]]
servers = ["10.0.0.1:80"]
`

// Hooks without a name are named after their program or host; equal names are numbered.
func TestHookNames(t *testing.T) {
	c, err := Load("testdata/good/event.toml")
	require.NoError(t, err)
	require.Equal(t, []Hook{
		{Name: "notify", On: []string{"server_down", "server_up"}, Exec: []string{"/usr/local/bin/notify", "-q"}, Timeout: 10 * time.Second},
		{Name: "notify-2", Exec: []string{"/opt/a b/notify"}, Timeout: 5 * time.Second},
		{Name: "alerts.example.com", URL: "https://user:secret@alerts.example.com:8443/weir?token=x", Timeout: 5 * time.Second},
		{Name: "pager", URL: "http://[::1]:9/", Timeout: 5 * time.Second},
	}, c.Hooks)
}

// A plan names hooks and does not show their URLs.
func TestDiffHooks(t *testing.T) {
	none := mustParse(t, hookConfig)
	one := mustParse(t, hookConfig+"[[event]]\nname = \"n\"\nurl = \"http://h/secret\"\n")
	other := mustParse(t, hookConfig+"[[event]]\nname = \"n\"\nurl = \"http://h/geheim\"\non = [\"reload\"]\n[[event]]\nexec = [\"/bin/x\"]\n")
	require.Equal(t, "add event n: url on all events", Diff(none, one).String())
	require.Equal(t, "remove event n: url on all events", Diff(one, none).String())
	require.Equal(t, "change event n: on all → reload, url (secret) → another (secret)\nadd event x: exec on all events", Diff(one, other).String())
	require.True(t, Diff(other, other).Empty())
}
