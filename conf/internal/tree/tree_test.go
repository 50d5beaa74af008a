package tree

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// walk calls visit for every node of a tree.
func walk(n *Node, visit func(*Node)) {
	visit(n)
	for _, c := range append(append([]*Node{}, n.Keys...), n.Items...) {
		walk(c, visit)
	}
}

// texts returns the text at the offset of every value, by path.
func texts(root *Node) map[string]string {
	found := make(map[string]string)
	walk(root, func(n *Node) {
		text := string(n.File.Text[n.Offset:])
		end := 1 // a bracket, or the start of a dotted key
		if n.Kind == Scalar {
			end = strings.IndexAny(text, "\n,]} ")
		}
		found[n.Path()] = text[:end]
	})
	delete(found, "")
	return found
}

func TestPositionsOfTOML(t *testing.T) {
	f := &File{Name: "weir.toml", Text: []byte("a.b = 1\n[[c]]\nd = [[1],\n 2]\n[[c]]\n\"e f\" = { g = \"é\",\n h = true }\n")}
	root, errs, incomplete := ParseTOML(f)
	require.Empty(t, errs)
	require.False(t, incomplete)
	require.Equal(t, map[string]string{
		"a": "a", "a.b": "1", "c": "[", "c[0]": "[", "c[0].d": "[", "c[0].d[0]": "[", "c[0].d[0][0]": "1", "c[0].d[1]": "2",
		"c[1]": "[", `c[1]."e f"`: "{", `c[1]."e f".g`: `"é"`, `c[1]."e f".h`: "true",
	}, texts(root))
	h := root.Get("c").Items[1].Get("e f").Get("h")
	require.Equal(t, "weir.toml:7:6: c[1].\"e f\".h: x", f.Diagnostic(h.Offset, h.Path(), "x").String())
}

func TestPositionsOfJSON(t *testing.T) {
	root, errs := ParseJSON([]byte("{\"a\": [1.5,\n {\"b\": null}], \"c\" : \"x\"\n}"))
	require.Empty(t, errs)
	require.Equal(t, map[string]string{"a": "[", "a[0]": "1.5", "a[1]": "{", "a[1].b": "null", "c": `"x"`}, texts(root))
	require.Equal(t, "1.5", root.Get("a").Items[0].Describe())
}

func TestNestingIsLimited(t *testing.T) {
	for depth, ok := range map[int]bool{maxNesting: true, maxNesting + 1: false} {
		nested := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		_, errs := ParseJSON([]byte(nested))
		require.Equal(t, ok, len(errs) == 0, "JSON %d", depth)
		_, errs, _ = ParseTOML(&File{Text: []byte("a = " + nested + "\n")})
		require.Equal(t, ok, len(errs) == 0, "TOML %d", depth)
	}
}

// A syntax error leaves the other keys in the tree.
func TestSyntaxErrorBlanksOnlyItsExpression(t *testing.T) {
	root, errs, incomplete := ParseTOML(&File{Name: "weir.toml", Text: []byte("a = 1\nb = = 2\n[c]\nd = 3\n")})
	require.Equal(t, []Diagnostic{{File: "weir.toml", Line: 2, Col: 5, Path: "b", Msg: "expected a value, got '='"}}, errs)
	require.False(t, incomplete)
	require.True(t, root.Incomplete)
	require.Equal(t, map[string]string{"a": "1", "c": "[", "c.d": "3"}, texts(root))
}

// checkTree checks the properties of every tree.
func checkTree(t *testing.T, root *Node) {
	walk(root, func(n *Node) {
		require.GreaterOrEqual(t, n.Offset, 0)
		require.LessOrEqual(t, n.Offset, len(n.File.Text))
		require.LessOrEqual(t, n.KeyOffset, len(n.File.Text))
		require.NotEmpty(t, n.Describe())
		for _, c := range n.Keys {
			require.Same(t, n, c.Parent)
			require.Same(t, c, n.Get(c.Name))
		}
		for i, c := range n.Items {
			require.Same(t, n, c.Parent)
			require.Equal(t, i, c.Index)
		}
	})
}

func FuzzTOML(f *testing.F) {
	for _, text := range []string{"a = 1\n", "[[a]]\nb.c = [{d = 1}]\n", "[a\n", "a = \"\"\"x\n", "a = = 1\n[a]\n[a]\n", "a = 1\rb = 2\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := &File{Name: "f", Text: append(text, '\n')}
		root, errs, incomplete := ParseTOML(file)
		checkTree(t, root)
		if incomplete {
			require.NotEmpty(t, errs)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, text := range []string{`{"a": [1, null, "x"]}`, "[[[[", `{"a": 1e999}`, "null", "1 2", `{"a": 1, "a": 2}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		root, errs := ParseJSON(text)
		require.Equal(t, len(errs) > 0, root == nil)
		if root != nil {
			checkTree(t, root)
		}
	})
}
