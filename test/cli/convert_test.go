package cli_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// corpus is the directory of the configurations that the unit tests of the translation load.
const corpus = "../../internal/convert/testdata/"

func TestConvertExitCodes(t *testing.T) {
	t.Parallel()
	run := func(stdin string, args ...string) (int, string, string) {
		cmd := exec.Command(weirtest.Binary, append([]string{"convert"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if _, exited := err.(*exec.ExitError); !exited {
			require.NoError(t, err)
		}
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
	code, out, errs := run("listen l\n mode tcp\n bind :1\n server s 10.0.0.1:1\n", "-")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "# Translated from standard input by weir convert.\n")
	require.Contains(t, out, `servers = ["10.0.0.1:1 name=s"]`)

	code, out, errs = run("", corpus+"haproxy/tls-termination.cfg")
	require.Equal(t, 1, code)
	require.Contains(t, out, "tls-termination.cfg:3: bind :443 ssl crt /etc/ssl/site.pem (")
	require.Equal(t, "2 lines were not translated: see the lines with WARNING\n", errs)

	code, out, errs = run("stream { server { listen 1; proxy_pass 10.0.0.1:1; } }", "--from", "nginx", "-")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, `servers = ["10.0.0.1:1"]`)

	for _, c := range []struct{ stdin, arg, want string }{
		{"", "-", "nothing to translate"},
		{"", "/no/such/file", "no such file"},
		{"", t.TempDir(), "is a directory"},
		{"listen l\n  bind 'x\n", "-", "standard input: line 2: a quotation that begins with ' has no end"},
		{"stream {\n", "-", "standard input:2: a block is not closed"},
	} {
		code, out, errs = run(c.stdin, c.arg)
		require.Equal(t, 2, code, c.want)
		require.Empty(t, out)
		require.Contains(t, errs, c.want)
	}

	// A result that weir does not accept is printed, and the reason is said.
	code, out, errs = run("listen l\n mode tcp\n bind :70000000\n bind :1\n server s 10.0.0.1:1 weight 999\n", "-")
	require.Equal(t, 1, code)
	require.Contains(t, out, "weight=999")
	require.Contains(t, errs, "weir would not accept the result:")
}

// probe is a client that connects to a translated configuration.
type probe struct{ from, to string }

// The same clients get the same from HAProxy or nginx with a configuration and from weir with its translation.
func TestConvertedConfigurationsBehaveAlike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file    string
		servers []string
		probes  []probe
		header  bool // servers get a PROXY header
	}{
		{"haproxy/access.cfg", []string{"10.5.0.1:7000"}, crossed([]string{"10.0.0.5", "10.9.9.9", "127.0.0.9", "127.0.0.1"}, "127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7004"), false},
		{"haproxy/always.cfg", []string{"10.21.0.1:1", "10.21.0.2:1"}, crossed([]string{"10.0.0.1", "10.0.0.2"}, "127.0.0.1:1"), false},
		{"haproxy/backups-all.cfg", []string{"10.14.0.1:80", "10.14.0.2:80", "10.14.0.4:80"}, crossed([]string{"127.0.0.1"}, "127.0.0.1:80"), false},
		{"haproxy/tunnel-timeouts.cfg", []string{"10.7.0.1:8080"}, crossed([]string{"127.0.0.1"}, "127.0.0.1:8080"), false},
		{"haproxy/named-defaults.cfg", []string{"10.16.0.1:1", "10.16.0.1:2", "10.16.0.1:3"}, crossed([]string{"127.0.0.1"}, "127.0.0.1:1001", "127.0.0.1:1002", "127.0.0.1:1003"), false},
		{"haproxy/source-routes.cfg", []string{"10.4.0.1:5432", "10.4.0.2:5432", "10.4.0.3:5432"}, crossed([]string{"192.168.99.7", "192.168.10.1"}, "127.0.0.1:5432"), false},
		{"nginx/redis.conf", []string{"10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"}, crossed([]string{"127.0.0.1"}, "127.0.0.1:6379"), false},
		{"nginx/access.conf", []string{"10.26.0.1:3306"}, crossed([]string{"192.168.1.2", "192.168.1.3", "127.0.0.1"}, "127.0.0.1:3306"), false},
		{"nginx/inherited.conf", []string{"10.31.0.1:1", "10.31.0.2:1"}, crossed([]string{"10.0.0.9", "127.0.0.1"}, "127.0.0.1:1001", "127.0.0.1:1002"), false},
		{"nginx/proxy-protocol.conf", []string{"10.27.0.1:12345", "10.27.0.1:12346"}, crossed([]string{"10.0.0.9"}, "127.0.0.1:12345"), true},
		{"nginx/hash.conf", []string{"10.29.0.1:1", "10.29.0.2:1", "10.29.0.1:3", "10.29.0.1:4"}, crossed([]string{"127.0.0.1"}, "127.0.0.1:4"), false},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			ns, back := nettest.NewNamespace(t), nettest.NewNamespace(t)
			ns.Connect(back, "172.31.0.1", "172.31.0.2")
			ns.Exec("ip", "route", "add", "10.0.0.0/8", "via", "172.31.0.2")
			back.Exec("ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo")
			for _, p := range c.probes {
				ns.Exec("ip", "route", "replace", "local", p.from, "dev", "lo")
			}
			for _, addr := range c.servers {
				back.Start(addr, func(_ context.Context, conn *net.TCPConn) {
					line := []byte{}
					if c.header {
						line = make([]byte, len("PROXY TCP4 10.0.0.9"))
						io.ReadFull(conn, line)
					}
					fmt.Fprintf(conn, "%s %s\n", addr, line)
					io.Copy(io.Discard, conn)
				})
			}
			text := weirtest.ReadFile(t, corpus+c.file)
			var want, got []string
			t.Run("original", func(t *testing.T) {
				ns.Do(func() {
					if strings.HasPrefix(c.file, "haproxy/") {
						nettest.StartHAProxy(t, c.probes[0].to, text)
					} else {
						begin := strings.Index(text, "stream {")
						end := strings.LastIndex(text[:len(text)-len(after(text, "\nhttp {"))], "}")
						nettest.StartNginx(t, c.probes[0].to, text[begin+len("stream {"):end])
					}
				})
				want = answers(t, ns, c.probes, c.header)
			})
			t.Run("translation", func(t *testing.T) {
				translated, _ := exec.Command(weirtest.Binary, "convert", corpus+c.file).Output() // its exit code may be 1
				weirtest.Options{Namespace: ns}.Start(t, "[log]\nformat = \"json\"\n[admin]\nlisten = \"\"\n"+string(translated))
				got = answers(t, ns, c.probes, c.header)
			})
			require.Equal(t, want, got)
			require.NotEmpty(t, want)
		})
	}
}

// after returns what follows a separator, with it, or "".
func after(text, separator string) string {
	if i := strings.Index(text, separator); i >= 0 {
		return text[i:]
	}
	return ""
}

func crossed(from []string, to ...string) (list []probe) {
	for _, f := range from {
		for _, addr := range to {
			list = append(list, probe{f, addr})
		}
	}
	return list
}

// answers returns what the servers behind each address answer to a client: all that answer in a series of connections,
// which stay open until its end.
func answers(t *testing.T, ns *nettest.Namespace, probes []probe, header bool) (list []string) {
	for _, p := range probes {
		seen := map[string]bool{}
		var open []net.Conn
		for range 12 {
			c, line := answer(t, ns, p, header)
			seen[line] = true
			open = append(open, c)
		}
		for _, c := range open {
			if c != nil {
				c.Close()
			}
		}
		var all []string
		for s := range seen {
			all = append(all, s)
		}
		slices.Sort(all)
		list = append(list, fmt.Sprintf("%s → %s: %s", p.from, p.to, strings.Join(all, ", ")))
	}
	return list
}

// answer returns the line that a client gets, or "rejected".
func answer(t *testing.T, ns *nettest.Namespace, p probe, header bool) (net.Conn, string) {
	var c net.Conn
	var err error
	ns.Do(func() {
		c, err = (&net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.from)}}).Dial("tcp", p.to)
	})
	if err != nil {
		require.ErrorContains(t, err, "reset")
		return nil, "rejected"
	}
	if header {
		io.WriteString(c, "PROXY TCP4 10.0.0.9 10.0.0.1 1000 12345\r\n")
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := io.ReadAll(io.LimitReader(c, 1))
	if len(line) == 0 {
		require.False(t, os.IsTimeout(err), "neither answered nor rejected: %+v", p)
		return c, "rejected"
	}
	rest := make([]byte, 0, 64)
	for one := make([]byte, 1); ; rest = append(rest, one[0]) {
		_, err := io.ReadFull(c, one)
		require.NoError(t, err)
		if one[0] == '\n' {
			return c, string(line) + string(rest)
		}
	}
}
