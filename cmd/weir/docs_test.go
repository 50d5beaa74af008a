package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"weir/internal/cli"
)

// documentedCommands returns the commands in the documents: indented lines that begin with weir, and inline code.
func documentedCommands(t *testing.T) (commands map[string]string) {
	files, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	files = append(files, "../../README.md", "../../conf/README.md", "../../admin/README.md", "../../packaging/man/weir.1.md")
	commands = map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, pattern := range []string{`(?m)^ {4,}(?:\$ )?(weir [a-z].*)$`, "`(weir [a-z][^`]*)`"} {
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
				command, _, _ := strings.Cut(m[1], " #")
				commands[strings.Trim(command, " ,;.")] = filepath.Base(file)
			}
		}
	}
	require.Greater(t, len(commands), 40)
	return commands
}

// splitCommand splits the arguments of a command as a shell does.
func splitCommand(command string) (list []string) {
	for _, w := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(command, -1) {
		list = append(list, strings.Trim(w, `"`))
	}
	return list[1:]
}

// Every command in the documents has a valid name, flags and arguments. No weir runs at the address that they get, so client
// commands exit with ExitUnreachable.
func TestDocumentedCommands(t *testing.T) {
	clientCommands := []string{"status", "sessions", "events", "explain", "server", "reload", "upgrade", "stop"}
	for command, file := range documentedCommands(t) {
		t.Run(file+": "+command, func(t *testing.T) {
			// Commands may be synopses: optional parts count as given.
			whole := command
			command := regexp.MustCompile(`\[([^\]]*)\]`).ReplaceAllString(command, "$1")
			command = strings.NewReplacer("CLUSTER/SERVER", "c/s", "weight N", "weight 1", "--limit N", "--limit 1", "server …", "server c/s").Replace(command)
			args := splitCommand(command)
			root := rootCommand()
			root.InitDefaultHelpCmd()
			root.InitDefaultCompletionCmd()
			cmd, rest, err := root.Find(args)
			require.NoError(t, err)
			require.NotEqual(t, "weir", cmd.Name(), "no such command")
			require.NoError(t, cmd.ParseFlags(rest))
			if len(args) == 1 || strings.HasSuffix(whole, "…") { // only the name
				return
			}
			require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()))
			if !slices.Contains(clientCommands, cmd.Name()) {
				return
			}
			for _, flag := range []string{"--admin", "--token-file"} {
				if i := slices.Index(args, flag); i >= 0 {
					args = slices.Delete(args, i, i+2)
				}
			}
			var out bytes.Buffer
			code := run(t.Context(), append(args, "--admin", "unix:/nonexistent/weir.sock"), strings.NewReader(""), &out, &out)
			require.Equal(t, cli.ExitUnreachable, code, out.String())
		})
	}
}

// The manual page describes every command and every flag.
func TestManualIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../packaging/man/weir.1.md")
	require.NoError(t, err)
	has := func(word string) {
		require.Regexp(t, `[\x60 \[]`+regexp.QuoteMeta(word)+`[\x60 \]]`, string(text), word)
	}
	var all []*cobra.Command
	var add func(cmd *cobra.Command)
	add = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				all = append(all, c)
				add(c)
			}
		}
	}
	add(rootCommand())
	for _, cmd := range all {
		has(cmd.CommandPath())
		if _, arguments, _ := strings.Cut(cmd.Use, " "); strings.Contains(arguments, "|") { // such as drain NODE|ready NODE
			for _, m := range regexp.MustCompile(`(?:^|\|)([a-z][a-z_-]*)`).FindAllStringSubmatch(arguments, -1) {
				require.Regexp(t, cmd.CommandPath()+`.*\b`+m[1]+`\b`, string(text), "%s %s", cmd.CommandPath(), m[1])
			}
		}
		visit := func(f *pflag.Flag) {
			if f.Name != "help" && f.Name != "config" && f.Name != "no-descriptions" && !f.Hidden { // the last one is cobra's
				has("--" + f.Name)
			}
		}
		cmd.LocalFlags().VisitAll(visit)
	}
	for _, action := range []string{"drain", "maint", "ready", "weight N", "reset", "kill-sessions", "add", "remove"} {
		has(action)
	}
}
