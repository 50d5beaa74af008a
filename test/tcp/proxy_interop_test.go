// Tests of the PROXY protocol with HAProxy, nginx and MariaDB.

package tcp_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Behind HAProxy, the client is HAProxy's client, with both versions, and HAProxy's TLVs are forwarded.
func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	w, addr := weirtest.Serve(t, proxied("", nettest.Start(t, rec.Handle).Addr()+" send_proxy=v2"))
	for i, words := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"} {
		front := nettest.Reserve(t)
		nettest.StartHAProxy(t, front, fmt.Sprintf("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"+
			"listen in\n  bind %s\n  unique-id-format id-of-it\n  server weir %s %s\n", front, addr, words))
		met := len(rec.Conns()) // HAProxy was looked at whether it listens
		c := say(t, front, "hello")
		client := c.LocalAddr().String()
		r := w.WaitRecord(5*time.Second, "the session of HAProxy's client", func(r weirtest.Record) bool { return r.Termination() != "" && r.Text("client") == client })
		require.Equal(t, 5, r.Int("bytes_up"))
		nettest.Wait(t, 5*time.Second, "the server's visit", func() bool { return len(rec.Conns()) > met })
		from, to := ends(c)
		var more []string
		if i == 2 {
			more = []string{nettest.ProxyTLV(5, "id-of-it")}
		}
		want := v2Frame(0x21, from, to, more...) + "hello"
		nettest.Wait(t, 5*time.Second, "the header", func() bool {
			for _, v := range rec.Conns() {
				if string(v.Data) == want {
					return true
				}
			}
			return false
		})
	}
	require.Empty(t, w.Warnings())
}

// HAProxy's checks send a header of their own, and pass.
func TestCheckedByHAProxy(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, proxied("", host.Addr()))
	front := nettest.Reserve(t)
	nettest.StartHAProxy(t, front, fmt.Sprintf("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"+
		"listen in\n  bind %s\n  server weir %s send-proxy-v2 check check-send-proxy inter 200ms fall 3\n", front, addr))
	nettest.Wait(t, 10*time.Second, "HAProxy's checks", func() bool { // which reset: on a slow machine before a server is dialed
		return len(w.Records(func(r weirtest.Record) bool { return r.Termination() != "" })) > 5
	})
	require.NoError(t, weirtest.PingPong(nettest.Dial(t, front)))
	require.Empty(t, w.Warnings())
}

// Behind nginx, the client is nginx's client.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, proxied("", nettest.Start(t, nettest.Echo).Addr()))
	front := nettest.Reserve(t)
	nettest.StartNginx(t, front, fmt.Sprintf("server { listen %s; proxy_pass %s; proxy_protocol on; }", front, addr))
	c := nettest.Dial(t, front)
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	w.SessionRecord(c)
	require.Empty(t, w.Warnings())
}

// HAProxy and nginx as servers accept both versions and get the client and the address it connected to.
func TestInFrontOfHAProxyAndNginx(t *testing.T) {
	t.Parallel()
	haproxy, nginx := nettest.Reserve(t), nettest.Reserve(t)
	nettest.StartHAProxy(t, haproxy, fmt.Sprintf("defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n"+
		"frontend f\n  bind %s accept-proxy\n  http-request return status 200 content-type text/plain "+
		"lf-string \"%%[src]:%%[src_port] %%[dst]:%%[dst_port] %%[fc_pp_authority] %%[fc_pp_unique_id]\"\n", haproxy))
	nettest.StartNginx(t, nginx, fmt.Sprintf("server { listen %s proxy_protocol; "+
		"return \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\"; }", nginx))
	ask := func(c net.Conn, text string) string {
		io.WriteString(c, text+"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		got, _ := nettest.ReadToEnd(c, 5*time.Second)
		_, body, http := strings.Cut(string(got), "\r\n\r\n")
		if http {
			return strings.TrimSpace(body)
		}
		return string(got)
	}
	for name, server := range map[string]string{"haproxy": haproxy, "nginx": nginx} {
		for _, version := range []string{"v1", "v2"} {
			_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(server + " send_proxy=" + version)})
			c := nettest.Dial(t, addr)
			require.Equal(t, fmt.Sprintf("%s %s", c.LocalAddr(), c.RemoteAddr()), ask(c, ""), "%s %s", name, version)

			_, addr = weirtest.Serve(t, proxied("", server+" send_proxy="+version))
			c = nettest.Dial(t, addr)
			want := "192.0.2.1:1234 192.0.2.2:5678"
			if name == "haproxy" && version == "v2" {
				want += " example.com id-1"
			}
			require.Equal(t, want, ask(c, nettest.ProxyV2(0x21, 0x11, block4, tlvs)), "%s %s", name, version)

			c = nettest.Dial(t, addr) // of a proxy that speaks for itself
			got := ask(c, nettest.ProxyV2(0x20, 0))
			switch {
			case name == "haproxy" || version == "v1":
				require.NotContains(t, got, "192.0.2.1")
				require.NotEmpty(t, got)
			}
		}
	}
}

// Checks of HAProxy and nginx servers that require a header pass.
func TestChecksOfHAProxyBehind(t *testing.T) {
	t.Parallel()
	back := nettest.Reserve(t)
	nettest.StartHAProxy(t, back, fmt.Sprintf("defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n"+
		"frontend f\n  bind %s accept-proxy\n  http-request return status 200 content-type text/plain string fine\n", back))
	for _, version := range []string{"v1", "v2"} {
		w, _, a := weirtest.ServeAPI(t, weirtest.Config{
			Cluster: fmt.Sprintf("send_proxy = %q", version), Levels: weirtest.OneLevel(back),
			Checks: "[[cluster.c.check]]\ntype = \"http\"\nexpect = \"fine\"\ninterval = \"2s\"\ntimeout = \"2s\"\nfast_interval = \"2s\"\nfall = 1\n",
		})
		waitPassed(a, "http")
		require.Equal(t, "up", a.ServerState(0))
		require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("server_down") }))
	}
}

// MariaDB sends first and still gets the client's address. Checks log in behind a header of their own.
func TestInFrontOfMariaDB(t *testing.T) {
	t.Parallel()
	db := nettest.StartMariaDB(t, "--proxy-protocol-networks=127.0.0.1")
	for _, version := range []string{"", "v1", "v2"} {
		_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
			Levels: weirtest.OneLevel(db.Addr() + " send_proxy=" + version),
			Checks: "[[cluster.c.check]]\ntype = \"mysql\"\nuser = \"weir\"\npassword = \"secret\"\nrole = \"primary\"\ninterval = \"5s\"\ntimeout = \"5s\"\nfall = 1\n",
		})
		cfg := mysql.NewConfig()
		cfg.User, cfg.Passwd, cfg.Net, cfg.Addr = "weir", "secret", "tcp", addr
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}).DialContext(ctx, network, addr)
		}
		connector, err := mysql.NewConnector(cfg)
		require.NoError(t, err)
		client := sql.OpenDB(connector)
		got := ""
		require.NoError(t, client.QueryRow("SELECT SUBSTRING_INDEX(host, ':', 1) FROM information_schema.processlist WHERE id = CONNECTION_ID()").Scan(&got))
		require.NoError(t, client.Close())
		want := "127.0.0.77"
		if version == "" {
			want = "127.0.0.1"
		}
		require.Equal(t, want, got, "%q", version)
		waitPassed(a, "mysql")
	}
	require.NotContains(t, db.Log(), "Aborted")
}

// waitPassed waits until a check has passed and requires that none has failed.
func waitPassed(a weirtest.API, check string) {
	a.T.Helper()
	results := regexp.MustCompile(`(?m)^weir_check_results_total\{.*check="` + check + `".*result="(\w+)".*\} (\d+)$`)
	nettest.Wait(a.T, 10*time.Second, "a check that passes", func() bool {
		seen := map[string]string{}
		text := a.MustDo("GET /metrics", "")
		for _, r := range results.FindAllStringSubmatch(text, -1) {
			seen[r[1]] = r[2]
		}
		require.Contains(a.T, []string{"", "0"}, seen["fail"], text)
		return seen["pass"] != "" && seen["pass"] != "0"
	})
}
