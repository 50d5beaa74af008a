package discovery_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A provider cannot make clients reach weir's API or another listener of weir, which trust this host.
func TestProviderThatListsWeirItself(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	api, private, all := nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)
	_, port, err := net.SplitHostPort(all)
	require.NoError(t, err)
	l := newList(t)
	config := found(l.keys())
	config.Listen = nettest.Reserve(t)
	config.More = weirtest.ListenerTables("private", private, hosts["A"].Addr()) + weirtest.ListenerTables("all", "0.0.0.0:"+port, hosts["A"].Addr())
	_, apiPort, _ := net.SplitHostPort(api)
	bad := []string{api, private, "127.0.0.1:" + port, "127.0.0.2:" + port, config.Listen, "localhost:" + apiPort, "224.0.0.1:80", "255.255.255.255:80"}
	l.write(group(append([]string{hosts["A"].Addr()}, bad...)))
	a := weirtest.NewAPI(t)
	weirtest.Start(t, a.AddTo(config.String(), api))
	waitServers(a, hosts["A"].Addr())
	require.Equal(t, "AAAAAAAAAA", weirtest.ReadSessions(t, config.Listen, 10))
	shown := a.MustRunCommand("discover", "c", "--json")
	for _, name := range bad {
		require.Contains(t, shown, `"`+name+`"`)
	}
	require.Contains(t, shown, "is the API of weir itself")
	require.Contains(t, shown, "is listener private of weir itself")
	require.Contains(t, shown, "is not the address of one host")
	require.Equal(t, float64(len(bad)), a.Get("clusters", 0, "levels", 0, "discovery", "bad_entries"))
}

// Found servers that never work fill neither the log nor the events: each change of the list is one line.
func TestDeadServersThatComeAndGo(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	l := newList(t)
	turn := 0
	list := func() []string {
		turn++
		targets := []string{hosts["A"].Addr()}
		for i := range 200 {
			targets = append(targets, fmt.Sprintf("127.%d.1.%d:1", turn, i+1))
		}
		return targets
	}
	l.write(group(list()))
	config := found(l.keys())
	config.Checks += "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\nfall = 1\nrise = 1\n"
	w, _, a := weirtest.ServeAPI(t, config)
	for range 5 {
		l.write(group(list()))
		last := fmt.Sprintf("127.%d.1.200:1", turn)
		nettest.Wait(t, weirtest.Bound(10*time.Second), "the last server to be down", func() bool {
			s := a.Server(last)
			return s != nil && s["state"] == "down"
		})
	}
	require.LessOrEqual(t, strings.Count(w.Output(), `"event":"server_`), 20) // 10 in a minute
	require.Contains(t, w.Output(), "more found servers do not work: their events are left out")
	require.Less(t, strings.Count(w.Output(), "\n"), 60)
	require.Contains(t, w.Output(), `"added":200`)
	hosts["A"].Down()
	nettest.Wait(t, weirtest.Bound(10*time.Second), "the event of a server that has worked", func() bool {
		return strings.Contains(w.Output(), `"event":"server_down"`) && strings.Contains(w.Output(), `"server":"`+hosts["A"].Addr()+`"`)
	})
}
