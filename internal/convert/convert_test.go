package convert

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nginxconf"
)

var update = flag.Bool("update", false, "write the expected translations")

// corpus returns the configurations below testdata.
func corpus(t testing.TB) []string {
	haproxy, err := filepath.Glob("testdata/haproxy/*.cfg")
	require.NoError(t, err)
	nginx, err := filepath.Glob("testdata/nginx/*.conf")
	require.NoError(t, err)
	return append(haproxy, nginx...)
}

// Every configuration of the corpus has the translation beside it, which weir accepts.
func TestCorpus(t *testing.T) {
	files := corpus(t)
	require.GreaterOrEqual(t, len(files), 40)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			r, err := Convert(Input{Path: file}, "")
			require.NoError(t, err)
			golden := strings.TrimSuffix(file, filepath.Ext(file)) + ".toml"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(r.TOML), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), r.TOML)
			require.Equal(t, r.Warnings, strings.Count(r.TOML, "# WARNING: "))
			cfg, err := conf.Parse(golden, []byte(r.TOML))
			require.NoError(t, err)
			require.NotEmpty(t, cfg.Listeners)
		})
	}
}

// Each line of a configuration is translated or kept: the words of a line that is neither are found nowhere.
func TestEveryLineLeavesATrace(t *testing.T) {
	const text = "listen l\n  mode tcp\n  bind :1\n  server s 10.0.0.1:1\n  "
	for _, l := range []string{
		"option independent-streams", "no-such-keyword at all", "stick-table type ip size 1k", "timeout what 1s", "balance uri", "tcp-request content set-var(x) src",
		"acl x path_beg /a", "use_backend nowhere if TRUE", "option ldap-check", "tcp-check connect via-socks4", "http-check disable-on-404",
		"server t 10.0.0.2:1 track a/b", "server u 10.0.0.2:+1", "server v 10.0.0.2 check", "bind :2 ssl crt x", "log global", "option tcplog", "id 7",
	} {
		r, err := HAProxy("f.cfg", text+l+"\n")
		require.NoError(t, err, l)
		require.Contains(t, r.TOML, "f.cfg:5: "+l+" (", l)
	}
}

func TestHAProxyWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                           nil,
		"  # nothing":                nil,
		`a b\ c "d e" 'f\n' # g`:     {"a", "b c", "d e", `f\n`},
		`send PING\r\n`:              {"send", "PING\r\n"},
		`x \x41\x4g`:                 {"x", "Ax4g"},
		`"a"'b'c`:                    {"abc"},
		`"a \"b\" #c" "" d`:          {`a "b" #c`, "", "d"},
		"acl x { src 1.2.3.4 } or y": {"acl", "x", "{", "src", "1.2.3.4", "}", "or", "y"},
	} {
		l, err := readWords(text)
		require.NoError(t, err, text)
		require.Equal(t, want, l.words, text)
	}
	_, err := readWords(`a "b`)
	require.EqualError(t, err, `a quotation that begins with " has no end`)
}

func TestInputErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "standard input: nothing to translate: the configuration is empty"},
		{" \n\t\n", "standard input: nothing to translate: the configuration is empty"},
		{"# only a comment\n", "standard input: nothing to translate: the configuration is empty"},
		{"server a 10.0.0.1:1\n", `standard input: line 1: "server" is outside of a section: is this a configuration of HAProxy?`},
		{"listen l\n bind 'x\n", "standard input: line 2: a quotation that begins with ' has no end"},
		{"listen l from x\n", `standard input: line 1: no defaults section "x" before this line`},
		{"stream {\n server {\n", "standard input:3: a block is not closed"},
	} {
		_, err := Convert(Input{Path: "-", Text: c.text}, "")
		require.EqualError(t, err, c.want, "%q", c.text)
	}
	_, err := Convert(Input{Path: filepath.Join(t.TempDir(), "none")}, "")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Convert(Input{Path: t.TempDir()}, "")
	require.ErrorContains(t, err, "is a directory")
	_, err = Convert(Input{Path: "-", Text: "x"}, "pf")
	require.EqualError(t, err, `unknown format "pf": haproxy and nginx can be translated`)
}

func TestPeriods(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0s", "5000": "5s", "1500": "1s500ms", "90s": "1m30s", "1m": "1m", "1d": "24h", "250us": "1ms", "2000us": "2ms", "1h30m": "1h30m", "2w": "336h", "5y": "8760h",
	} {
		d, ok := period(text, 1e6)
		require.True(t, ok, text)
		require.Equal(t, quote(want), writeDuration(d), text)
	}
	for _, text := range []string{"", "s", "1x", "-1", "1.5s", "99999999999"} {
		_, ok := period(text, 1e6)
		require.False(t, ok, text)
	}
}

// The rules of a listener say what they say in HAProxy and nginx for every client, or a warning says they do not.
func TestAccessRulesKeepTheirMeaning(t *testing.T) {
	lists := [][]string{{"10.0.0.0/8"}, {"10.1.0.0/16"}, {"192.168.0.0/16"}, {"10.1.2.3", "192.168.1.1"}}
	clients := []string{"10.0.0.1", "10.1.0.1", "10.1.2.3", "192.168.1.1", "192.168.9.9", "172.16.0.1"}
	in := func(list []string, client string) bool { return overlaps(list, []string{client}) }
	type rule struct {
		accept, all, not bool
		list             []string
	}
	var rules []rule
	for _, accept := range []bool{true, false} {
		rules = append(rules, rule{accept: accept, all: true})
		for _, list := range lists {
			rules = append(rules, rule{accept: accept, list: list}, rule{accept: accept, not: true, list: list})
		}
	}
	translated := 0
	for _, one := range rules {
		for _, two := range rules {
			for _, three := range rules {
				var a access
				refused := false
				for _, r := range []rule{one, two, three} {
					refused = refused || a.rule(r.accept, r.all, r.not, r.list) != ""
				}
				if refused {
					continue
				}
				translated++
				for _, client := range clients {
					want := true
					for _, r := range []rule{one, two, three} {
						if r.all || in(r.list, client) != r.not {
							want = r.accept
							break
						}
					}
					all := len(a.deny) == 1 && a.deny[0] == "all"
					got := (a.allow == nil || in(a.allow, client)) && !all && !in(without(a.deny, "all"), client)
					require.Equal(t, want, got, "%+v %+v %+v: %+v for %s", one, two, three, a, client)
				}
			}
		}
	}
	require.Greater(t, translated, 500)
}

func without(list []string, text string) (rest []string) {
	for _, s := range list {
		if s != text {
			rest = append(rest, s)
		}
	}
	return rest
}

// Whatever is translated, the result is TOML in which only values may be wrong.
func FuzzHAProxy(f *testing.F) {
	for _, file := range corpus(f) {
		if text, err := os.ReadFile(file); err == nil && strings.HasSuffix(file, ".cfg") {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := HAProxy("f", text); err == nil {
			requireTOML(t, r)
		}
	})
}

func FuzzNGINX(f *testing.F) {
	for _, file := range corpus(f) {
		if text, err := os.ReadFile(file); err == nil && strings.HasSuffix(file, ".conf") {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := nginxconf.Parse("f", text)
		if err != nil {
			return
		}
		if r, err := NGINX("f", list); err == nil {
			requireTOML(t, r)
		}
	})
}

func requireTOML(t *testing.T, r Result) {
	if _, err := conf.Parse("result", []byte(r.TOML)); err != nil {
		require.NotContains(t, err.Error(), "syntax", "%s", r.TOML)
		require.NotContains(t, err.Error(), "toml:", "%s", r.TOML)
	}
}
