package main_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// letters starts one server per letter, each of which says its own, and returns them by letter.
func letters(t *testing.T, names string) map[string]*nettest.Host {
	out := map[string]*nettest.Host{}
	for _, name := range strings.Split(names, "") {
		out[name] = nettest.Start(t, nettest.SendText(name))
	}
	return out
}

// weighted is a level of the hosts "A=1 B=4", in that order, where further options may follow a comma.
func weighted(hosts map[string]*nettest.Host, spec string) []string {
	var out []string
	for _, field := range strings.Fields(spec) {
		name, options, _ := strings.Cut(field, "=")
		weight, more, _ := strings.Cut(options, ",")
		s := hosts[name].Addr() + " name=" + name
		if weight != "" {
			s += " weight=" + weight
		}
		out = append(out, strings.TrimSpace(s+" "+strings.ReplaceAll(more, ",", " ")))
	}
	return out
}

// The order in which servers are chosen is exact.
func TestWeightedRoundRobinSequence(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABCE")
	for _, c := range []struct{ balance, servers, want string }{
		{"wrr", "A=1 B=4", "BBABBBBABBBBABB"},
		{"wrr", "A=5 B=1 C=1", "AABACAAAABACAA"},
		{"wrr", "A=3 B=2 C=1", "ABACBAABACBA"},
		{"wrr", "A=1 B=4 C=3 E=6", strings.Repeat("EBCEBEACEBECBE", 2)},
		{"wrr", "A=1 B=2", strings.Repeat("BAB", 10)},
		{"wrr", "A=1 B=1 C=1", "ABCABCABC"},
		{"wrr", "A=0 B=1", "BBBB"},
		{"wrr", "A=0 B=0", "ABAB"},
		{"rr", "A=1 B=4 C=9", "ABCABCABC"},
		{"first", "A=1 B=4", "AAAA"},
	} {
		t.Run(c.balance+" "+c.servers, func(t *testing.T) {
			_, addr := serve(t, layout{
				cluster: fmt.Sprintf("balance = %q", c.balance), levels: [][]string{weighted(hosts, c.servers)},
			})
			require.Equal(t, c.want, sequence(t, addr, len(c.want)))
		})
	}
}

// failing is a check that no server passes, though all of them serve: it asks a port that refuses.
func failing(t *testing.T) string {
	t.Helper()
	_, port, _ := strings.Cut(nettest.Reserve(t), ":")
	return "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 2\nrise = 2\nport = " + port + "\n"
}

// passing is a quick check of the server's own port.
const passing = "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 2\nrise = 2\n"

// However heavy a server is, while its check fails the other ones get everything.
func TestHeavyServerDown(t *testing.T) {
	t.Parallel()
	for _, heavy := range []int{3, 10, 256} {
		hosts := letters(t, "ABC")
		hosts["A"].Down()
		w, addr := serve(t, layout{
			checks: passing, levels: [][]string{weighted(hosts, fmt.Sprintf("A=%d B=1 C=1", heavy))},
		})
		w.waitEvent("server_down", "A")
		require.Contains(t, []string{"BCBCBCBC", "CBCBCBCB"}, sequence(t, addr, 8))
		require.Zero(t, hosts["A"].Accepted())
	}
}

// waitEvent waits for an event about a server.
func (w *weir) waitEvent(event, server string) {
	w.t.Helper()
	w.waitRecord(5*time.Second, event+" of "+server, func(r record) bool { return r.is(event) && r.str("server") == server })
}

// Levels are left when their servers refuse, within `try`.
func TestNextLevelAfterRefusals(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	hosts["A"].Down()
	hosts["B"].Down()
	levels := [][]string{weighted(hosts, "A=1 B=1"), weighted(hosts, "C=1")}
	_, addr := serve(t, layout{cluster: "max_fails = 0", levels: levels})
	require.Equal(t, "CCCCCC", sequence(t, addr, 6))
	served := hosts["C"].Accepted()
	w, addr := serve(t, layout{cluster: "max_fails = 0\ntry = 2", levels: levels})
	require.Equal(t, "----", sequence(t, addr, 4))
	require.Equal(t, served, hosts["C"].Accepted())
	for _, r := range w.all(func(r record) bool { return r.end() != "" }) {
		require.Equal(t, 2, r.num("attempts"))
		require.Contains(t, r.end(), "refused")
	}
}

// A level that serves keeps the next one out of use, whatever is the matter there.
func TestLowerLevelIsNotUsed(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "456")
	_, addr := serve(t, layout{levels: [][]string{weighted(hosts, "4=1 5=1 6=1"), {nettest.Reserve(t)}}})
	require.Equal(t, "456456", sequence(t, addr, 6))
}

// One live server of many keeps a level in use, unless min_up asks for more.
func TestMinUp(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	dead := []string{nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)}
	for _, c := range []struct{ minUp, want string }{{"1", "A"}, {"2", "B"}} {
		l := layout{
			listen: nettest.Reserve(t), checks: passing,
			levels: [][]string{append(weighted(hosts, "A=1"), dead...), weighted(hosts, "B=1")},
		}
		w := start(t, strings.Replace(l.String(), "[[cluster.c.level]]\n", "[[cluster.c.level]]\nmin_up = "+c.minUp+"\n", 1))
		for _, d := range dead {
			w.waitEvent("server_down", d)
		}
		require.Equal(t, strings.Repeat(c.want, 40), sequence(t, l.listen, 40))
	}
}

// When every check of every server fails, a protected cluster serves from the first server of its first level; an
// unprotected one does not dial at all.
func TestProtection(t *testing.T) {
	t.Parallel()
	t.Run("protected", func(t *testing.T) {
		t.Parallel()
		hosts := letters(t, "ABC")
		w, addr := serve(t, layout{
			checks: failing(t), levels: [][]string{weighted(hosts, "A=1 B=1"), weighted(hosts, "C=1")},
		})
		w.waitEvent("server_down", "B")
		w.waitEvent("server_down", "C")
		require.Equal(t, "AAAAAA", sequence(t, addr, 6))
		require.Zero(t, hosts["C"].Accepted())
	})
	t.Run("unprotected", func(t *testing.T) {
		t.Parallel()
		hosts := letters(t, "ABC")
		w, addr := serve(t, layout{
			cluster: "protected = false", checks: failing(t),
			levels: [][]string{weighted(hosts, "A=1 B=1"), weighted(hosts, "C=1")},
		})
		for _, name := range []string{"A", "B", "C"} {
			w.waitEvent("server_down", name)
		}
		require.Equal(t, "------", sequence(t, addr, 6))
		for _, h := range hosts {
			require.Zero(t, h.Accepted())
		}
		for _, r := range w.all(func(r record) bool { return r.end() != "" }) {
			require.Equal(t, "dial no_server", r.end())
			require.Zero(t, r.num("attempts"))
		}
	})
}

// What the file takes out of service stays out, whatever its checks say.
func TestMaintAndDrainStay(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"maint", "drain"} {
		for name, check := range map[string]string{"check passes": passing, "check fails": failing(t), "no check": ""} {
			t.Run(state+", "+name, func(t *testing.T) {
				t.Parallel()
				hosts := letters(t, "AB")
				_, addr := serve(t, layout{
					checks: check, levels: [][]string{weighted(hosts, "A=1,state="+state+" B=1")},
				})
				for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(20 * time.Millisecond) {
					require.Equal(t, "B", sequence(t, addr, 1))
				}
			})
		}
	}
}

// Shares follow weights; when the heavy server stops no client notices, and when it is back it gets its share again.
func TestSharesThroughAFailure(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	w, addr := serve(t, layout{
		checks: passing, cluster: "fail_timeout = \"500ms\"", levels: [][]string{weighted(hosts, "A=1 B=10 C=15")},
	})
	shares := func(n int) map[string]int {
		count := map[string]int{}
		for _, name := range strings.Split(sequence(t, addr, n), "") {
			count[name]++
		}
		return count
	}
	n := 260
	require.Equal(t, map[string]int{"A": 10, "B": 100, "C": 150}, shares(n))

	hosts["C"].Down()
	count := shares(110)
	require.Zero(t, count["-"], "no client notices")
	w.waitEvent("server_down", "C")
	count = shares(110)
	require.Zero(t, count["C"]+count["-"])
	require.InDelta(t, 100, count["B"], 5)

	hosts["C"].Up()
	nettest.Wait(t, 5*time.Second, "the share of the server that is back", func() bool {
		return shares(26)["C"] >= 14
	})
	w.waitEvent("server_up", "C")
}

// Sessions held open count: the busy server gets no more of them.
func TestLeastSessions(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{
		"A": nettest.Start(t, nettest.Greet("A", nettest.Echo)), "B": nettest.Start(t, nettest.Greet("B", nettest.Echo)),
	}
	_, addr := serve(t, layout{cluster: `balance = "least_sessions"`, levels: [][]string{weighted(hosts, "A=1 B=1")}})
	held := nettest.Dial(t, addr)
	busy := first(t, held)
	for range 10 {
		c := nettest.Dial(t, addr)
		require.NotEqual(t, busy, first(t, c))
		require.NoError(t, c.CloseWrite())
		_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
		require.NoError(t, err)
		c.Close()
		host := hosts[map[string]string{"A": "B", "B": "A"}[busy]]
		nettest.Wait(t, 5*time.Second, "the session's end", func() bool { return host.Open() == 0 })
	}
}

// One client address has one server, from any port; when that is down it gets another, and its own one back afterwards.
func TestHashOnClientAddress(t *testing.T) {
	t.Parallel()
	for _, balance := range []string{"hash", "maglev"} {
		t.Run(balance, func(t *testing.T) {
			t.Parallel()
			hosts := letters(t, "ABCDE")
			_, addr := serve(t, layout{
				cluster: fmt.Sprintf("balance = %q\nfail_timeout = \"300ms\"", balance),
				levels:  [][]string{weighted(hosts, "A B C D E")},
			})
			choice := func(ip string) string {
				c := nettest.DialFrom(t, ip, addr)
				defer c.Close()
				data, _ := nettest.ReadToEnd(c, 5*time.Second)
				return string(data)
			}
			before := map[string]string{}
			used := map[string]bool{}
			for i := range 80 {
				ip := fmt.Sprintf("127.0.1.%d", i+1)
				before[ip] = choice(ip)
				used[before[ip]] = true
				for range 3 {
					require.Equal(t, before[ip], choice(ip))
				}
			}
			require.Len(t, used, 5)
			hosts["C"].Down()
			for ip, name := range before {
				if name != "C" {
					require.Equal(t, name, choice(ip), "keys of other servers stay")
				} else {
					require.NotEmpty(t, choice(ip))
				}
			}
			hosts["C"].Up()
			time.Sleep(400 * time.Millisecond)
			for ip := range before {
				choice(ip) // one of them is the session that finds the server back
			}
			for ip, name := range before {
				require.Equal(t, name, choice(ip))
			}
		})
	}
}

// A listener may name the levels it uses, and their order.
func TestListenerLevels(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	only, reverse := nettest.Reserve(t), nettest.Reserve(t)
	config := layout{
		listen: nettest.Reserve(t),
		levels: [][]string{weighted(hosts, "A=1"), weighted(hosts, "B=1"), weighted(hosts, "C=1")},
		more: fmt.Sprintf("[[listener]]\nname = \"only\"\naddress = %q\ncluster = \"c\"\nlevels = [2]\n"+
			"[[listener]]\nname = \"reverse\"\naddress = %q\ncluster = \"c\"\nlevels = [3, 1]\n", only, reverse),
	}.String()
	start(t, config)
	require.Equal(t, "BBB", sequence(t, only, 3))
	require.Equal(t, "CCC", sequence(t, reverse, 3))
	hosts["C"].Down()
	require.Equal(t, "AAA", sequence(t, reverse, 3))
	hosts["B"].Down()
	require.Equal(t, "---", sequence(t, only, 3), "levels that were not chosen are not used")
}

// Two clusters with the same servers know nothing of each other.
func TestClustersShareNoState(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	second := nettest.Reserve(t)
	l := layout{
		levels: [][]string{weighted(hosts, "A=1 B=1")},
		more: fmt.Sprintf("[[listener]]\nname = \"second\"\naddress = %q\ncluster = \"d\"\n[cluster.d]\n[[cluster.d.level]]\n"+
			"servers = [\"%s name=A\", \"%s name=B\"]\n", second, hosts["A"].Addr(), hosts["B"].Addr()),
		checks: failing(t), cluster: "protected = false",
	}
	w, addr := serve(t, l)
	w.waitEvent("server_down", "A")
	w.waitEvent("server_down", "B")
	require.Equal(t, "--", sequence(t, addr, 2))
	require.Equal(t, "ABAB", sequence(t, second, 4))
}

// Two levels of one name are a mistake in the file.
func TestLevelNamesAreUnique(t *testing.T) {
	t.Parallel()
	config := layout{
		listen: "127.0.0.1:7000", levels: [][]string{{"127.0.0.1:7001"}, {"127.0.0.1:7002"}}, level: `name = "same"`,
	}.String()
	file := t.TempDir() + "/weir.toml"
	require.NoError(t, os.WriteFile(file, []byte(config), 0o644))
	code, out := run(t, "check", "-c", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "same")
}

// Room under max_sessions is exact: what does not fit goes to the next level, and beyond the last one it is refused.
func TestServerMaxSessions(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B", "C"} {
		hosts[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
	}
	w, addr := serve(t, layout{
		cluster: "max_sessions = 1", levels: [][]string{weighted(hosts, "A B"), weighted(hosts, "C")},
	})
	require.Equal(t, "A", first(t, nettest.Dial(t, addr)))
	b := nettest.Dial(t, addr)
	require.Equal(t, "B", first(t, b))
	require.Equal(t, "C", first(t, nettest.Dial(t, addr)))
	begin := time.Now()
	_, served := knock(t, addr, 5*time.Second)
	require.False(t, served)
	require.Less(t, nettest.Elapsed(begin), 200*time.Millisecond)
	w.waitRecord(5*time.Second, "the refused session's record", func(r record) bool { return r.end() != "" })

	b.Close()
	w.session(b)
	require.Equal(t, "B", greeting(t, addr))
}

// A session that finds no room waits for it as long as queue_timeout allows.
func TestQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	_, addr := serve(t, layout{cluster: "max_sessions = 1\nqueue_timeout = \"1s\"", levels: servers(host.Addr())})
	held := nettest.Dial(t, addr)
	require.Equal(t, "A", first(t, held))

	begin := time.Now()
	late := nettest.Dial(t, addr)
	data, end := nettest.ReadToEnd(late, 5*time.Second)
	require.Empty(t, data)
	require.NotEqual(t, nettest.Timeout, end)
	between(t, time.Second, time.Since(begin))

	waiting := nettest.Dial(t, addr)
	require.NoError(t, pushed(waiting, "x"))
	time.Sleep(300 * time.Millisecond)
	require.Equal(t, 1, host.Accepted())
	held.Close()
	waiting.SetReadDeadline(time.Now().Add(5 * time.Second))
	require.Equal(t, "Ax", first(t, waiting)+first(t, waiting))
}

// With failback = "manual" a lower level that has taken over stays in use when the better one is back.
func TestManualFailback(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "AB")
	w, addr := serve(t, layout{
		cluster: "failback = \"manual\"", checks: passing, levels: [][]string{weighted(hosts, "A"), weighted(hosts, "B")},
	})
	require.Equal(t, "AA", sequence(t, addr, 2))
	hosts["A"].Down()
	w.waitEvent("server_down", "A")
	require.Equal(t, "BB", sequence(t, addr, 2))
	hosts["A"].Up()
	w.waitEvent("server_up", "A")
	require.Equal(t, "BBBB", sequence(t, addr, 4))
	hosts["B"].Down()
	w.waitEvent("server_down", "B")
	require.Equal(t, "AA", sequence(t, addr, 2), "it fails itself")
}
