package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const postedListener = "[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\ncluster = \"c\"\n[[cluster.c.level]]\nservers = [\"10.0.0.1:1\"]\n"

// The text of a request reads no file outside of the directory of the running configuration, and its errors show none.
func TestPostedTextIncludesOnlyFilesBelowDirectory(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "weir"), filepath.Join(base, "elsewhere")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "conf.d"), 0o755))
	require.NoError(t, os.Mkdir(outside, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "shadow.toml"), []byte("root-secret\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "conf.d", "a.toml"), []byte(postedListener), 0o644))
	require.NoError(t, os.Symlink(filepath.Join(outside, "shadow.toml"), filepath.Join(dir, "link.toml")))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "linked")))
	post := func(path, pattern string) error {
		_, err := ParsePosted(Posted{Path: path, Text: []byte("include = [\"" + pattern + "\"]\n"), Below: dir})
		return err
	}
	main := filepath.Join(dir, "weir.toml")
	require.NoError(t, post(main, "conf.d/*.toml"))
	require.NoError(t, post(main, dir+"/conf.d/a.toml"))
	require.NoError(t, post(filepath.Join(dir, "other.toml"), "conf.d/?.toml"))
	for _, c := range [][2]string{
		{main, outside + "/*"}, {main, outside + "/none"}, {main, "../elsewhere/*"}, {main, "conf.d/../../elsewhere/*"},
		{main, "/etc/passwd"}, {main, "/proc/*/*/*/*"}, {main, "/*/../" + strings.TrimPrefix(dir, "/") + "/conf.d/*"}, {main, "link.toml"}, {main, "linked/*"},
		{filepath.Join(outside, "x.toml"), "*.toml"}, {"/etc/x.toml", "shado*"}, {main, base + "/weir*/conf.d/*"},
	} {
		err := post(c[0], c[1])
		require.ErrorContains(t, err, "may include only files below "+dir, "%v", c)
		require.NotContains(t, err.Error(), "secret", "%v", c)
	}
	var many []string
	for range 1000 {
		many = append(many, "\"conf.d/*\"")
	}
	_, err := ParsePosted(Posted{Path: main, Text: []byte("include = [" + strings.Join(many, ", ") + "]\n"), Below: dir})
	require.ErrorContains(t, err, "want at most 20 patterns")
}

// weir run -c weir.toml has a relative directory: files below it can be included all the same.
func TestPostedTextIncludesFilesOfRelativeDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "conf.d"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "conf.d", "a.toml"), []byte(postedListener), 0o644))
	t.Chdir(dir)
	c, err := ParsePosted(Posted{Path: "weir.toml", Text: []byte("include = [\"conf.d/*.toml\"]\n"), Below: "."})
	require.NoError(t, err)
	require.Len(t, c.Listeners, 1)
	_, err = ParsePosted(Posted{Path: "weir.toml", Text: []byte("include = [\"../*\"]\n"), Below: "."})
	require.ErrorContains(t, err, "may include only files below .")
}

// A request that brings all files reads none of this host.
func TestPostedFilesReplaceFilesOnDisk(t *testing.T) {
	c, err := ParsePosted(Posted{
		Path: "/etc/weir.toml", Text: []byte("include = [\"/etc/*\", \"/proc/*\"]\n"), Included: []SourceFile{{Path: "x.toml", Text: postedListener}},
	})
	require.NoError(t, err)
	require.Len(t, c.Listeners, 1)
	_, err = ParsePosted(Posted{Path: "/etc/weir.toml", Text: []byte("include = [\"/etc/*\"]\n" + postedListener), Included: []SourceFile{}})
	require.NoError(t, err)
	_, err = ParsePosted(Posted{Path: "a.toml", Text: []byte("include = [\"b.toml\"]"), Included: []SourceFile{{Path: "b.toml", Text: "nonsense"}}})
	require.ErrorContains(t, err, "b.toml:1:")
}

// What a plan and the log of a reload show has no secrets: neither passwords nor what programs, servers and hooks are sent.
func TestPlanShowsNoSecrets(t *testing.T) {
	text := func(secret string) string {
		return `[[listener]]
name = "l"
address = "127.0.0.1:1"
cluster = "c"
[[event]]
name = "program"
exec = ["/bin/notify", "` + secret + `"]
[[event]]
name = "url"
url = "https://u:` + secret + `@alerts.example/` + secret + `"
[[cluster.c.level]]
servers = ["10.0.0.1:1"]
[[cluster.c.check]]
id = "tcp"
type = "tcp"
send = "AUTH ` + secret + `"
[[cluster.c.check]]
id = "steps"
type = "tcp"
steps = [{ send = "AUTH ` + secret + `", expect = "OK" }]
[[cluster.c.check]]
id = "http"
type = "http"
path = "/health?token=` + secret + `"
method = "POST"
body = "` + secret + `"
headers = { Authorization = "Bearer ` + secret + `" }
[[cluster.c.check]]
id = "exec"
type = "exec"
command = ["/bin/check", "--password", "` + secret + `"]
[[cluster.c.check]]
id = "mysql"
type = "mysql"
user = "u"
password = "` + secret + `"
query = "select '` + secret + `'"
[[cluster.c.check]]
id = "agent"
type = "agent_http"
url = "http://10.0.0.9:8080/` + secret + `"
`
	}
	a, err := Parse("weir.toml", []byte(text("hunter2")))
	require.NoError(t, err)
	b, err := Parse("weir.toml", []byte(text("swordfish")))
	require.NoError(t, err)
	for _, plan := range []Plan{Diff(a, b), Diff(nil, b), Diff(a, nil)} {
		require.NotContains(t, plan.String(), "hunter2")
		require.NotContains(t, plan.String(), "swordfish")
	}
	plan := Diff(a, b).String()
	for _, key := range []string{"exec", "url", "steps", "path", "body", "headers", "command", "password", "query"} {
		require.Contains(t, plan, key+" (secret) → another (secret)")
	}
	empty, err := Parse("weir.toml", []byte(strings.Replace(text("hunter2"), "body = \"hunter2\"\n", "", 1)))
	require.NoError(t, err)
	require.Contains(t, Diff(empty, a).String(), "body none → (secret)")
}
