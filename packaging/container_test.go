package packaging

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// containerfile is what a Containerfile says, as far as the one of weir needs it.
type containerfile struct {
	run    []string          // commands of the first stage
	env    []string          // of the first stage
	from   []string          // images of the stages
	copied string            // folder of the first stage that is the root of the second
	image  map[string]string // other instructions of the second stage
}

func readContainerfile(t *testing.T) *containerfile {
	t.Helper()
	text, err := os.ReadFile("Containerfile")
	require.NoError(t, err)
	c := &containerfile{image: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch second := len(c.from) == 2; {
		case instruction == "" || strings.HasPrefix(instruction, "#"):
		case instruction == "FROM":
			c.from = append(c.from, strings.Fields(rest)[0])
		case second && instruction == "COPY":
			c.copied = strings.Fields(strings.TrimPrefix(rest, "--from=build "))[0]
		case second:
			c.image[instruction] = rest
		case instruction == "RUN":
			c.run = append(c.run, rest)
		case instruction == "ENV":
			c.env = append(c.env, strings.Fields(rest)...)
		default:
			require.Contains(t, []string{"WORKDIR /src", "COPY . ."}, instruction+" "+rest)
		}
	}
	return c
}

// build runs the commands of the first stage in this repository and returns the root of the image.
func (c *containerfile) build(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(root), 0o755)) // for the user of the image
	for _, command := range c.run {
		cmd := exec.Command("sh", "-ec", strings.ReplaceAll(command, c.copied, root+"/"))
		cmd.Dir, cmd.Env = "..", append(os.Environ(), c.env...)
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", command, output)
	}
	return root
}

// The image needs nothing but the program, which is static, runs as PID 1 of a user without rights, follows a ConfigMap, and
// outlives an upgrade. The commands of the Containerfile are run here; the image that they are for has the same Go.
func TestContainer(t *testing.T) {
	c := readContainerfile(t)
	mod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod)
	require.Equal(t, []string{"golang:" + string(version[1]) + "-bookworm", "scratch"}, c.from)
	require.Equal(t, map[string]string{
		"USER": "65532:65532", "STOPSIGNAL": "SIGTERM", "ENTRYPOINT": `["/usr/local/bin/weir"]`, "CMD": `["run", "-c", "/etc/weir/weir.toml"]`,
	}, c.image)
	root := c.build(t)
	program, err := elf.Open(filepath.Join(root, "usr/local/bin/weir"))
	require.NoError(t, err)
	defer program.Close()
	for _, p := range program.Progs {
		require.NotEqual(t, elf.PT_INTERP, p.Type, "the program is not static")
	}
	config := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(config, []byte(manifest(t, "kubernetes/weir.yaml", "ConfigMap")["data"].(map[string]any)["weir.toml"].(string)), 0o644))
	output, err := exec.Command("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child",
		"sh", "testdata/container.sh", root, config).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "== done")
}
