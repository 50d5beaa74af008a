package conf

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Servers with port = "same" format as in the string form, whatever form they were written in.
func TestSamePortAddresses(t *testing.T) {
	c := mustParse(t, smallConfig+`servers = ["10.0.0.1 port=same", "[2001:db8::1] port=same", { address = "2001:db8::2", port = "same" }, "db.example.com port=same weight=2", "10.0.0.1:80"]`+"\n")
	var texts []string
	for _, s := range c.Clusters[0].Levels[0].Servers {
		texts = append(texts, s.Address.String())
		if s.Address.SamePort {
			again := mustParse(t, smallConfig+`servers = ["`+s.Address.String()+`"]`+"\n")
			require.Equal(t, s.Address, again.Clusters[0].Levels[0].Servers[0].Address)
		}
	}
	require.Equal(t, []string{"10.0.0.1 port=same", "2001:db8::1 port=same", "2001:db8::2 port=same", "db.example.com port=same", "10.0.0.1:80"}, texts)
	require.Equal(t, "10.0.0.1", c.Clusters[0].Levels[0].Servers[0].Name)
}

// A plan shows the change between a port and the client's port as one of the address.
func TestPlanOfSamePort(t *testing.T) {
	a := mustParse(t, smallConfig+`servers = ["10.0.0.1:80 name=s"]`+"\n")
	b := mustParse(t, smallConfig+`servers = ["10.0.0.1 port=same name=s"]`+"\n")
	require.Contains(t, Diff(a, b).String(), "address 10.0.0.1:80 → 10.0.0.1 port=same")
	require.Equal(t, "no changes", Diff(b, b).String())
}

// Requests define such servers as files do.
func TestSamePortInRequests(t *testing.T) {
	c := mustParse(t, smallConfig+"servers = []\n[[cluster.web.check]]\ntype = \"tcp\"\nport = 80\n")
	for _, text := range []string{`"10.0.0.1 port=same"`, `{"address": "10.0.0.1", "port": "same"}`} {
		s, _, err := ParseServer([]byte(text), &c.Clusters[0])
		require.NoError(t, err)
		require.Equal(t, "10.0.0.1 port=same", s.Address.String())
	}
	for text, want := range map[string]string{
		`{"address": "10.0.0.1"}`:                    `missing port in "10.0.0.1"`,
		`{"address": "10.0.0.1", "port": 80}`:        `want "same", got 80`,
		`{"address": "10.0.0.1:80", "port": "same"}`: "want a host without a port or path",
		`"10.0.0.1 port=same source=client"`:         "requires a port in the address",
		`{"address": ["10.0.0.1"], "port": "same"}`:  "requires a host",
	} {
		_, _, err := ParseServer([]byte(text), &c.Clusters[0])
		require.ErrorContains(t, err, want, text)
	}
	c.Clusters[0].Levels[0].Servers = []Server{{Name: "s", Address: Address{Host: "db", SamePort: true}}}
	require.NoError(t, c.ValidateServers())
	c.Clusters[0].Checks[0].Port = 0
	require.EqualError(t, c.ValidateServers(), `cluster web: check tcp requires port: server "s" has port = "same"`)
}

// Loops through the client's port are found, one port at a time.
func TestLoopsAtSamePort(t *testing.T) {
	two := func(first, second, servers1, servers2 string) string {
		return "[[listener]]\nname = \"a\"\naddress = " + first + "\ncluster = \"x\"\n[[listener]]\nname = \"b\"\naddress = " + second + "\ncluster = \"y\"\n" +
			"[cluster.x]\n[[cluster.x.level]]\nservers = [" + servers1 + "]\n[cluster.y]\n[[cluster.y.level]]\nservers = [" + servers2 + "]\n"
	}
	for text, want := range map[string]string{
		two(`"127.0.0.1:80-89"`, `":70"`, `"127.0.0.1 port=same"`, `"10.0.0.1:1"`):                  "server 127.0.0.1 points back to listener a",
		two(`":80-89"`, `":70"`, `"127.0.0.2 port=same"`, `"10.0.0.1:1"`):                           "server 127.0.0.2 points back to listener a",
		two(`":80-89"`, `":70"`, `"localhost port=same"`, `"10.0.0.1:1"`):                           "server localhost points back to listener a",
		two(`"10.0.0.9:80-89"`, `":70"`, `"10.0.0.9 port=same"`, `"10.0.0.1:1"`):                    "server 10.0.0.9 points back to listener a",
		two(`"10.0.0.9:80-89"`, `":70"`, `"127.0.0.1 port=same"`, `"10.0.0.1:1"`):                   "",
		two(`"10.0.0.9:80-89"`, `"10.0.0.8:85"`, `"10.0.0.8 port=same"`, `"10.0.0.1:1"`):            "",
		two(`"10.0.0.9:80-89"`, `"10.0.0.8:85"`, `"10.0.0.8 port=same"`, `"10.0.0.9 port=same"`):    "whose servers lead back to listener a",
		two(`"10.0.0.9:80-89"`, `"10.0.0.8:90-99"`, `"10.0.0.8 port=same"`, `"10.0.0.9 port=same"`): "",
		two(`"10.0.0.9:80-89"`, `"10.0.0.8:85"`, `"10.0.0.8 port=same"`, `"10.0.0.9:80"`):           "whose servers lead back to listener a",
	} {
		_, err := Parse("weir.toml", []byte(text))
		if want == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
}
