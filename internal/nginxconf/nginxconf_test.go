package nginxconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// show writes directives with one space between words, blocks in braces, and the line of each.
func show(list []*Directive) string {
	var b strings.Builder
	for _, d := range list {
		b.WriteString(strings.Join(append([]string{d.Name}, d.Args...), "|"))
		b.WriteString("@" + string(rune('0'+d.Line)))
		if d.Block != nil {
			b.WriteString("{" + show(d.Block) + "}")
		}
		b.WriteString(";")
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"# nothing\n":                         "",
		"a;":                                  "a@1;",
		"a b  c;\nd\n e;":                     "a|b|c@1;d|e@2;",
		`a "b c" 'd"e';`:                      `a|b c|d"e@1;`,
		`a "b\"c" d\;e f\ g;`:                 `a|b"c|d;e|f g@1;`,
		`a "\d+\.com";`:                       `a|\d+\.com@1;`,
		"s { a b; t { } } c;":                 "s@1{a|b@1;t@1{};};c@1;",
		"a ${b}c $d;":                         "a|${b}c|$d@1;",
		"a b#c; # d;\ne;":                     "a|b#c@1;e@2;",
		"x_by_lua_block { f({}) -- }\n '}' }": "x_by_lua_block@1{};",
		"a 'b\nc' d;\ne;":                     "a|b\nc|d@1;e@3;",
	} {
		list, err := Parse("f", text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, show(list), "%q", text)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a":                      "f:1: a directive is not ended by ; or a block",
		"a {\nb;":                "f:2: a block is not closed",
		"a;\n}":                  "f:2: unexpected }",
		";":                      "f:1: unexpected ;",
		"{}":                     "f:1: unexpected {",
		"a \"b\n":                `f:1: a quotation that begins with " has no end`,
		"a {\nb }":               "f:2: a directive is not ended by ; or a block",
		"x_by_lua_block {\n{ }":  "f:1: a block is not closed",
		strings.Repeat("a{", 40): "f:1: blocks are nested more than 32 deep",
	} {
		_, err := Parse("f", text)
		require.EqualError(t, err, want, "%q", text)
	}
}

func TestReadFileIncludes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	main := write("nginx.conf", "a;\nstream { include conf.d/*.conf; include none/*; }\n")
	write("conf.d/2.conf", "two;")
	write("conf.d/1.conf", "one;\ninclude deep/x;")
	write("deep/x", "x;")
	list, err := ReadFile(main)
	require.NoError(t, err)
	require.Equal(t, "a@1;stream@2{one@1;x@1;two@1;};", show(list))
	require.Equal(t, filepath.Join(dir, "deep/x"), list[1].Block[1].File)

	_, err = ReadFile(write("missing.conf", "\ninclude gone;"))
	require.ErrorContains(t, err, "missing.conf:2: include gone: no such file")
	_, err = ReadFile(write("self.conf", "include self.conf;"))
	require.ErrorContains(t, err, "nested more than 32 deep")
	_, err = ReadFile(write("directory.conf", "include conf.d;"))
	require.ErrorContains(t, err, "not a regular file")
}

// Whatever a file contains, it is read or refused with a position, and what was read can be written and read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a b { c 'd'; }", "a \"\\\"\" ${x};", "x_by_lua_block { '}' }", "a # b\n;", "a\\ b;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse("f", text)
		if err != nil {
			require.Regexp(t, `^f:\d+: `, err.Error())
			return
		}
		lines := 1 + strings.Count(text, "\n")
		var visit func(list []*Directive)
		visit = func(list []*Directive) {
			for _, d := range list {
				require.GreaterOrEqual(t, d.Line, 1)
				require.LessOrEqual(t, d.Line, lines)
				visit(d.Block)
			}
		}
		visit(list)
	})
}

// A file that is no configuration, such as a token, is not shown in the error.
func TestErrorsDoNotShowOtherFiles(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(token, []byte("65e9272a5b7c\n"), 0o600))
	main := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(main, []byte("stream { include token; }"), 0o600))
	_, err := ReadFile(main)
	require.EqualError(t, err, main+":1: "+token+":1: a directive is not ended by ; or a block")
	require.NoError(t, os.WriteFile(main, []byte("stream { include /proc/kmsg; }"), 0o600))
	_, err = ReadFile(main)
	require.EqualError(t, err, main+":1: open /proc/kmsg: not a regular file")
}
