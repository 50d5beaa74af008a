package health_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The order in which servers are chosen is exact.
func TestWeightedRoundRobinSequence(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABCE")
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
			_, addr := weirtest.Serve(t, weirtest.Config{
				Cluster: fmt.Sprintf("balance = %q", c.balance), Levels: [][]string{weirtest.WeightedLevel(hosts, c.servers)},
			})
			require.Equal(t, c.want, weirtest.ReadSessions(t, addr, len(c.want)))
		})
	}
}

// failing returns a check that every server fails, though all of them serve: its port refuses.
func failing(t *testing.T) string {
	t.Helper()
	_, port, _ := strings.Cut(nettest.Reserve(t), ":")
	return "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 2\nrise = 2\nport = " + port + "\n"
}

// While the check of a server with a large weight fails, the others get all sessions.
func TestHeavyServerDown(t *testing.T) {
	t.Parallel()
	for _, heavy := range []int{3, 10, 256} {
		hosts := weirtest.StartLetters(t, "ABC")
		hosts["A"].Down()
		w, addr := weirtest.Serve(t, weirtest.Config{
			Checks: weirtest.PassingCheck, Levels: [][]string{weirtest.WeightedLevel(hosts, fmt.Sprintf("A=%d B=1 C=1", heavy))},
		})
		w.WaitEvent("server_down", "A")
		require.Contains(t, []string{"BCBCBCBC", "CBCBCBCB"}, weirtest.ReadSessions(t, addr, 8))
		require.Zero(t, hosts["A"].Accepted())
	}
}

// A level whose servers refuse is left, within `try`.
func TestNextLevelAfterRefusals(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	hosts["A"].Down()
	hosts["B"].Down()
	levels := [][]string{weirtest.WeightedLevel(hosts, "A=1 B=1"), weirtest.WeightedLevel(hosts, "C=1")}
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_fails = 0", Levels: levels})
	require.Equal(t, "CCCCCC", weirtest.ReadSessions(t, addr, 6))
	served := hosts["C"].Accepted()
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_fails = 0\ntry = 2", Levels: levels})
	require.Equal(t, "----", weirtest.ReadSessions(t, addr, 4))
	require.Equal(t, served, hosts["C"].Accepted())
	for _, r := range w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }) {
		require.Equal(t, 2, r.Int("attempts"))
		require.Contains(t, r.Termination(), "refused")
	}
}

// A level in use keeps the next one unused, whatever its state.
func TestLowerLevelIsNotUsed(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "456")
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: [][]string{weirtest.WeightedLevel(hosts, "4=1 5=1 6=1"), {nettest.Reserve(t)}}})
	require.Equal(t, "456456", weirtest.ReadSessions(t, addr, 6))
}

// One server up keeps a level in use, unless min_up requires more.
func TestMinUp(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	dead := []string{nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)}
	for _, c := range []struct{ minUp, want string }{{"1", "A"}, {"2", "B"}} {
		l := weirtest.Config{
			Listen: nettest.Reserve(t), Checks: weirtest.PassingCheck,
			Levels: [][]string{append(weirtest.WeightedLevel(hosts, "A=1"), dead...), weirtest.WeightedLevel(hosts, "B=1")},
		}
		w := weirtest.Start(t, strings.Replace(l.String(), "[[cluster.c.level]]\n", "[[cluster.c.level]]\nmin_up = "+c.minUp+"\n", 1))
		for _, d := range dead {
			w.WaitEvent("server_down", d)
		}
		require.Equal(t, strings.Repeat(c.want, 40), weirtest.ReadSessions(t, l.Listen, 40))
	}
}

// If every check of every server fails, a protected cluster uses the first server of its first level; an unprotected
// one dials no server.
func TestProtection(t *testing.T) {
	t.Parallel()
	t.Run("protected", func(t *testing.T) {
		t.Parallel()
		hosts := weirtest.StartLetters(t, "ABC")
		w, addr := weirtest.Serve(t, weirtest.Config{
			Checks: failing(t), Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=1"), weirtest.WeightedLevel(hosts, "C=1")},
		})
		w.WaitEvent("server_down", "B")
		w.WaitEvent("server_down", "C")
		require.Equal(t, "AAAAAA", weirtest.ReadSessions(t, addr, 6))
		require.Zero(t, hosts["C"].Accepted())
	})
	t.Run("unprotected", func(t *testing.T) {
		t.Parallel()
		hosts := weirtest.StartLetters(t, "ABC")
		w, addr := weirtest.Serve(t, weirtest.Config{
			Cluster: "protected = false", Checks: failing(t),
			Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=1"), weirtest.WeightedLevel(hosts, "C=1")},
		})
		for _, name := range []string{"A", "B", "C"} {
			w.WaitEvent("server_down", name)
		}
		require.Equal(t, "------", weirtest.ReadSessions(t, addr, 6))
		for _, h := range hosts {
			require.Zero(t, h.Accepted())
		}
		for _, r := range w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }) {
			require.Equal(t, "dial no_server", r.Termination())
			require.Zero(t, r.Int("attempts"))
		}
	})
}

// A server that the file takes out of service stays out, whatever its checks find.
func TestMaintAndDrainPersist(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"maint", "drain"} {
		for name, check := range map[string]string{"check passes": weirtest.PassingCheck, "check fails": failing(t), "no check": ""} {
			t.Run(state+", "+name, func(t *testing.T) {
				t.Parallel()
				hosts := weirtest.StartLetters(t, "AB")
				_, addr := weirtest.Serve(t, weirtest.Config{
					Checks: check, Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1,state="+state+" B=1")},
				})
				for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(20 * time.Millisecond) {
					require.Equal(t, "B", weirtest.ReadSessions(t, addr, 1))
				}
			})
		}
	}
}

// Shares follow weights; when the server with the largest weight stops no client fails, and when it returns it gets its
// share.
func TestSharesThroughAFailure(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	w, addr := weirtest.Serve(t, weirtest.Config{
		Checks: weirtest.PassingCheck, Cluster: "fail_timeout = \"500ms\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=10 C=15")},
	})
	shares := func(n int) map[string]int {
		count := map[string]int{}
		for _, name := range strings.Split(weirtest.ReadSessions(t, addr, n), "") {
			count[name]++
		}
		return count
	}
	n := 260
	require.Equal(t, map[string]int{"A": 10, "B": 100, "C": 150}, shares(n))

	hosts["C"].Down()
	count := shares(110)
	require.Zero(t, count["-"], "no client notices")
	w.WaitEvent("server_down", "C")
	count = shares(110)
	require.Zero(t, count["C"]+count["-"])
	require.InDelta(t, 100, count["B"], 5)

	hosts["C"].Up()
	nettest.Wait(t, 15*time.Second, "the share of the server that is back", func() bool {
		return shares(26)["C"] >= 14
	})
	w.WaitEvent("server_up", "C")
}

// Open sessions count: the busier server gets no more of them.
func TestLeastSessions(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{
		"A": nettest.Start(t, nettest.Greet("A", nettest.Echo)), "B": nettest.Start(t, nettest.Greet("B", nettest.Echo)),
	}
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: `balance = "least_sessions"`, Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=1")}})
	held := nettest.Dial(t, addr)
	busy := weirtest.ReadByte(t, held)
	for range 10 {
		c := nettest.Dial(t, addr)
		require.NotEqual(t, busy, weirtest.ReadByte(t, c))
		require.NoError(t, c.CloseWrite())
		_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
		require.NoError(t, err)
		c.Close()
		host := hosts[map[string]string{"A": "B", "B": "A"}[busy]]
		nettest.Wait(t, 15*time.Second, "the session's end", func() bool { return host.Open() == 0 })
	}
}

// A client address keeps its server, from any port; while that is down it uses another one, and afterwards its own
// again.
func TestHashOnClientAddress(t *testing.T) {
	t.Parallel()
	for _, balance := range []string{"hash", "maglev"} {
		t.Run(balance, func(t *testing.T) {
			t.Parallel()
			hosts := weirtest.StartLetters(t, "ABCDE")
			_, addr := weirtest.Serve(t, weirtest.Config{
				Cluster: fmt.Sprintf("balance = %q\nfail_timeout = \"300ms\"", balance),
				Levels:  [][]string{weirtest.WeightedLevel(hosts, "A B C D E")},
			})
			choice := func(ip string) string {
				c := nettest.DialFrom(t, ip, addr)
				defer c.Close()
				data, _ := nettest.ReadToEnd(c, 20*time.Second)
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
			for ip, name := range before { // one of them is the session that finds the server back
				nettest.Wait(t, 15*time.Second, ip+" to have its server again", func() bool { return choice(ip) == name })
			}
			for ip, name := range before {
				require.Equal(t, name, choice(ip))
			}
		})
	}
}

// A listener can choose its levels and their order.
func TestListenerLevels(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	only, reverse := nettest.Reserve(t), nettest.Reserve(t)
	config := weirtest.Config{
		Listen: nettest.Reserve(t),
		Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1"), weirtest.WeightedLevel(hosts, "B=1"), weirtest.WeightedLevel(hosts, "C=1")},
		More: fmt.Sprintf("[[listener]]\nname = \"only\"\naddress = %q\ncluster = \"c\"\nlevels = [2]\n"+
			"[[listener]]\nname = \"reverse\"\naddress = %q\ncluster = \"c\"\nlevels = [3, 1]\n", only, reverse),
	}.String()
	weirtest.Start(t, config)
	require.Equal(t, "BBB", weirtest.ReadSessions(t, only, 3))
	require.Equal(t, "CCC", weirtest.ReadSessions(t, reverse, 3))
	hosts["C"].Down()
	require.Equal(t, "AAA", weirtest.ReadSessions(t, reverse, 3))
	hosts["B"].Down()
	require.Equal(t, "---", weirtest.ReadSessions(t, only, 3), "levels that were not chosen are not used")
}

// Two clusters with the same servers share no state.
func TestClustersShareNoState(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	second := nettest.Reserve(t)
	l := weirtest.Config{
		Levels: [][]string{weirtest.WeightedLevel(hosts, "A=1 B=1")},
		More: fmt.Sprintf("[[listener]]\nname = \"second\"\naddress = %q\ncluster = \"d\"\n[cluster.d]\n[[cluster.d.level]]\n"+
			"servers = [\"%s name=A\", \"%s name=B\"]\n", second, hosts["A"].Addr(), hosts["B"].Addr()),
		Checks: failing(t), Cluster: "protected = false",
	}
	w, addr := weirtest.Serve(t, l)
	w.WaitEvent("server_down", "A")
	w.WaitEvent("server_down", "B")
	require.Equal(t, "--", weirtest.ReadSessions(t, addr, 2))
	require.Equal(t, "ABAB", weirtest.ReadSessions(t, second, 4))
}

// Two levels with the same name are a configuration error.
func TestLevelNamesAreUnique(t *testing.T) {
	t.Parallel()
	config := weirtest.Config{
		Listen: "127.0.0.1:7000", Levels: [][]string{{"127.0.0.1:7001"}, {"127.0.0.1:7002"}}, Level: `name = "same"`,
	}.String()
	file := t.TempDir() + "/weir.toml"
	require.NoError(t, os.WriteFile(file, []byte(config), 0o644))
	code, out := weirtest.RunCommand(t, "check", "-c", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "same")
}

// max_sessions of a server is exact: further sessions use the next level, and are rejected after the last one.
func TestServerMaxSessions(t *testing.T) {
	t.Parallel()
	hosts := map[string]*nettest.Host{}
	for _, name := range []string{"A", "B", "C"} {
		hosts[name] = nettest.Start(t, nettest.Greet(name, nettest.Echo))
	}
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "max_sessions = 1", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B"), weirtest.WeightedLevel(hosts, "C")},
	})
	require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	b := nettest.Dial(t, addr)
	require.Equal(t, "B", weirtest.ReadByte(t, b))
	require.Equal(t, "C", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	begin := time.Now()
	_, served := weirtest.DialServed(t, addr, 5*time.Second)
	require.False(t, served)
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(200*time.Millisecond))
	w.WaitRecord(15*time.Second, "the refused session's record", func(r weirtest.Record) bool { return r.Termination() != "" })

	b.Close()
	w.SessionRecord(b)
	require.Equal(t, "B", weirtest.DialAndReadByte(t, addr))
}

// A session without a free slot waits for queue_timeout.
func TestQueue(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, time.Second, sessionsQueue)
}

func sessionsQueue(t *testing.T, timeout time.Duration) (inTime bool) {
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	_, addr, api := weirtest.ServeAPI(t, weirtest.Config{Cluster: fmt.Sprintf("max_sessions = 1\nqueue_timeout = %q", timeout), Levels: weirtest.OneLevel(host.Addr())})
	held := nettest.Dial(t, addr)
	require.Equal(t, "A", weirtest.ReadByte(t, held))

	begin := time.Now()
	late := nettest.Dial(t, addr)
	data, end := nettest.ReadToEnd(late, 20*time.Second+timeout)
	weirtest.RequireBetween(t, timeout, time.Since(begin))
	require.Empty(t, data)
	require.NotEqual(t, nettest.Timeout, end)

	begin = time.Now()
	waiting := nettest.Dial(t, addr)
	if weirtest.WriteText(waiting, "x") != nil {
		return false
	}
	var phases string
	nettest.Wait(t, 15*time.Second, "the session to wait", func() bool {
		phases = fmt.Sprint(api.Sessions())
		return time.Since(begin) >= timeout || strings.Contains(phases, "phase:queue")
	})
	accepted := host.Accepted()
	held.Close()
	data = make([]byte, 2)
	waiting.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := io.ReadFull(waiting, data)
	if time.Since(begin) >= timeout {
		return false
	}
	require.Contains(t, phases, "phase:queue")
	require.Equal(t, 1, accepted)
	require.NoError(t, err)
	require.Equal(t, "Ax", string(data))
	return true
}

// With failback = "manual" a lower level stays in use when the better one returns.
func TestManualFailback(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "failback = \"manual\"", Checks: weirtest.PassingCheck, Levels: [][]string{weirtest.WeightedLevel(hosts, "A"), weirtest.WeightedLevel(hosts, "B")},
	})
	require.Equal(t, "AA", weirtest.ReadSessions(t, addr, 2))
	hosts["A"].Down()
	w.WaitEvent("server_down", "A")
	require.Equal(t, "BB", weirtest.ReadSessions(t, addr, 2))
	hosts["A"].Up()
	w.WaitEvent("server_up", "A")
	require.Equal(t, "BBBB", weirtest.ReadSessions(t, addr, 4))
	hosts["B"].Down()
	w.WaitEvent("server_down", "B")
	require.Equal(t, "AA", weirtest.ReadSessions(t, addr, 2), "it fails itself")
}
