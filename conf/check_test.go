package conf

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func checksByID(t *testing.T, path string) map[string]Check {
	t.Helper()
	c, err := Load(path)
	require.NoError(t, err)
	byID := make(map[string]Check)
	for _, k := range c.Clusters[0].Checks {
		byID[k.ID] = k
	}
	return byID
}

func TestCheckOptionsOfEveryType(t *testing.T) {
	got := checksByID(t, "testdata/good/check_types.toml")
	usual := Check{Interval: 2 * time.Second, FastInterval: 2 * time.Second, DownInterval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, Initial: "up", Servers: "all"}
	want := func(id, kind string, change func(c *Check)) {
		t.Helper()
		k := usual
		k.Type, k.ID = kind, id
		change(&k)
		require.Equal(t, k, got[id])
		delete(got, id)
	}
	named := func(c *Check, server string) { c.Servers, c.ServerNames = "list", []string{server} }
	want("http", "http", func(c *Check) {
		c.Method, c.Path, c.OKCodes = "GET", "/", "101 102 2xx 3xx"
		named(c, "10.0.0.1:80")
	})
	want("full", "http", func(c *Check) {
		c.Method, c.Path, c.Host, c.Body, c.OKCodes, c.Expect = "POST", "/health?deep=1", "www.example.com:8080", []byte{0, 255}, "200,40x 5XX", []byte("fine")
		c.Headers = []Header{{"Authorization", "Bearer hunter2"}, {"X-From", ""}}
		c.TLS = TLS{On: true, ServerName: "www.example.com", CAFile: "/etc/ssl/ca.pem", CertFile: "/etc/ssl/check.pem", KeyFile: "/etc/ssl/check.key", SkipVerify: true}
	})
	want("redis", "redis", func(c *Check) {
		c.Password, c.Role, c.MaxLag, c.AllowStale = Secret{Env: "REDIS_PASSWORD"}, "replica", 30*time.Second, true
	})
	want("greeting", "mysql", func(*Check) {})
	want("mysql", "mysql", func(c *Check) {
		c.User, c.Password, c.Database, c.Role = "monitor", Secret{File: "/etc/weir/password"}, "shop", "primary"
		c.Galera, c.AllowDonor, c.Query, c.TLS.On = true, true, "SELECT 1", true
		c.ServerKeyFile, c.AllowPublicKey = "/etc/weir/mysql.pem", true
	})
	want("request", "pgsql", func(*Check) {})
	want("pgsql", "pgsql", func(c *Check) {
		c.User, c.Password, c.Database, c.Role = "monitor", Secret{File: "/etc/weir/password"}, "shop", "replica"
		c.MaxLag, c.Query = 10*time.Second, "SELECT 1"
		c.TLS = TLS{On: true, CertFile: "/etc/weir/check.pem", KeyFile: "/etc/weir/check.key"}
	})
	want("udp", "udp", func(c *Check) {
		c.Port, c.Address, c.Steps = 53, "10.0.0.9", []Step{{Send: []byte{1, 2}, Expect: []byte{3}}}
	})
	want("exec", "exec", func(c *Check) { c.Command = []string{"/usr/bin/true", ""} })
	want("tcp", "tcp", func(c *Check) { c.Quiet = true })
	want("agent", "agent", func(c *Check) {
		c.Port, c.Send, c.TTL = 9999, []byte("hello\n"), 2*time.Second
		named(c, "10.0.0.1:80")
	})
	want("central", "agent_http", func(c *Check) {
		c.Address, c.Port, c.Path, c.TLS.On = "agents.example", 8443, "/weight?server=2", true
		c.Method, c.Host, c.OKCodes = "GET", "agents", "2xx"
		named(c, "10.0.0.2:80")
	})
	want("beside", "agent_http", func(c *Check) {
		c.Address, c.Port, c.Method, c.Path, c.OKCodes = "10.0.0.9", 9998, "GET", "/", "2xx"
		named(c, "unix:/run/web.sock")
	})
	require.Empty(t, got)
}

// Headers in list form are the same as in table form.
func TestHeadersInListForm(t *testing.T) {
	with := func(headers string) *Config {
		return mustParse(t, strings.ReplaceAll(diffConfig, `type = "tcp"`, "type = \"http\"\nheaders = "+headers))
	}
	require.Equal(t, []Header{{"Accept", "text/plain; q=0.5"}, {"X-At", "10:30"}, {"X-None", ""}},
		with(`["Accept: text/plain; q=0.5", "X-At:10:30", "X-None:"]`).Clusters[0].Checks[0].Headers)
	require.Equal(t, "no changes", Diff(with(`["X: a", "Y: b"]`), with(`{ X = "a", Y = "b" }`)).String())
}

// Secrets do not appear in a configuration or plan, however it is formatted.
func TestSecretsAreNotPrinted(t *testing.T) {
	text := strings.ReplaceAll(diffConfig, `type = "tcp"`, "type = \"redis\"\npassword = \"hunter2\"\n[[cluster.web.check]]\ntype = \"http\"\nheaders = { Authorization = \"Bearer hunter2\" }")
	c := mustParse(t, text)
	asJSON, err := json.Marshal(c)
	require.NoError(t, err)
	texts := []string{string(asJSON)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		texts = append(texts, fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c.Clusters), fmt.Sprintf(verb, c.Clusters[0].Checks[0].Password))
	}
	for _, wanted := range []string{diffConfig, strings.ReplaceAll(text, "hunter2", "hunter3"), strings.ReplaceAll(text, `password = "hunter2"`, `password_env = "REDIS"`)} {
		for _, plan := range []Plan{Diff(c, mustParse(t, wanted)), Diff(mustParse(t, wanted), c)} {
			asJSON, err := json.Marshal(plan)
			require.NoError(t, err)
			texts = append(texts, plan.String(), string(asJSON))
		}
	}
	for _, s := range texts {
		require.NotContains(t, s, "hunter")
		require.NotContains(t, s, "68756e746572") // the same in hex
	}
	require.Equal(t, "change check web/redis: password (secret) → another (secret)\nchange check web/http: headers (secret) → another (secret)",
		Diff(c, mustParse(t, strings.ReplaceAll(text, "hunter2", "hunter3"))).String())
}

// Errors of a file do not contain its passwords.
func TestSecretsAreNotInErrors(t *testing.T) {
	for _, name := range []string{"check_password", "check_password_syntax", "check_mysql_without_user", "check_agent_url"} {
		text, err := os.ReadFile("testdata/bad/" + name + ".txt")
		require.NoError(t, err)
		require.NotContains(t, string(text), "hunter2")
	}
}
