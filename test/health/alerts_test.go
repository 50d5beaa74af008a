package health_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

var watchAlerts = flag.Duration("alerts", 3*time.Second, "how long TestAlertsInPrometheus watches a healthy cluster")

// prometheus is a Prometheus with the delivered alerts that scrapes one weir.
type prometheus struct {
	t    *testing.T
	addr string
}

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	rules, err := filepath.Abs("../../packaging/prometheus/weir.rules.yml")
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs: [{job_name: weir, static_configs: [{targets: [%q]}]}]\n", rules, target), 0o644))
	p := &prometheus{t, nettest.Reserve(t)}
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+p.addr, "--log.level=error")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	nettest.Wait(t, 30*time.Second, "a scrape", func() bool { return p.value(`up{job="weir"}`) == "1" })
	return p
}

// get reads a document of the API, or returns false if there is none yet.
func (p *prometheus) get(path string, into any) bool {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + p.addr + path)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == 200 && json.NewDecoder(res.Body).Decode(into) == nil
}

// value returns the value of an expression with one result, or "".
func (p *prometheus) value(expr string) string {
	var doc struct {
		Data struct{ Result []struct{ Value []any } }
	}
	if !p.get("/api/v1/query?query="+expr, &doc) || len(doc.Data.Result) != 1 {
		return ""
	}
	return doc.Data.Result[0].Value[1].(string)
}

// alerts returns the alerts that are active, by name: pending or firing.
func (p *prometheus) alerts() map[string]string {
	p.t.Helper()
	var doc struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	require.True(p.t, p.get("/api/v1/alerts", &doc))
	active := map[string]string{}
	for _, a := range doc.Data.Alerts {
		if active[a.Labels["alertname"]] != "firing" {
			active[a.Labels["alertname"]] = a.State
		}
	}
	return active
}

// staysQuiet requires that no alert fires for a time.
func (p *prometheus) staysQuiet(d time.Duration) {
	p.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		for name, state := range p.alerts() {
			require.NotEqual(p.t, "firing", state, name)
		}
	}
}

// Prometheus with the delivered alerts is quiet about a healthy cluster whose servers have roles, and about a failover, and tells
// when no server is left. make alerts watches for ten minutes.
func TestAlertsInPrometheus(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartRedis(t, "--repl-diskless-sync-delay", "0"), nettest.StartRedis(t, "--repl-diskless-sync-delay", "0")
	follow := func(replica, primary *nettest.Redis) {
		host, port, _ := net.SplitHostPort(primary.Addr())
		require.Equal(t, "OK\n", weirtest.RedisCLI(t, replica.Addr(), "REPLICAOF", host, port))
	}
	follow(b, a)
	tcp, api := nettest.Reserve(t), weirtest.NewAPI(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"), Cluster: "on_down = \"close\"\nprotected = false\nhold_timeout = \"20s\"",
		Checks: "[[cluster.c.check]]\n" + rolePace + "type = \"redis\"\nrole = \"primary\"\n",
	}
	weirtest.Start(t, api.AddTo(l.String(), tcp))
	is := func(server int, state string) {
		t.Helper()
		nettest.Wait(t, 30*time.Second, state, func() bool { return api.ServerState(server) == state })
	}
	is(0, "up")
	is(1, "standby")
	p := startPrometheus(t, tcp)
	p.staysQuiet(*watchAlerts)

	a.Kill()
	require.Equal(t, "OK\n", weirtest.RedisCLI(t, b.Addr(), "REPLICAOF", "NO", "ONE"))
	is(1, "up")
	require.Equal(t, "PONG\n", weirtest.RedisCLI(t, l.Listen, "PING"))
	a.Up()
	follow(a, b)
	is(0, "standby")
	p.staysQuiet(*watchAlerts / 2)

	a.Kill()
	b.Kill()
	nettest.Wait(t, 60*time.Second, "an alert", func() bool { return p.alerts()["WeirClusterWithoutServers"] != "" })
}
