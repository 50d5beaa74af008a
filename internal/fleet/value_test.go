package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeysNameOneThing(t *testing.T) {
	for _, names := range [][]string{{"a"}, {"overrides", "server", "redis", "10.0.0.1:6379"}, {"x", "unix:/run/a b.sock"}, {"%", "ü", ".."}} {
		key := Key(names...)
		got, ok := Segments(key)
		require.True(t, ok, key)
		require.Equal(t, names, got)
		require.Len(t, strings.Split(key, "/"), len(names))
	}
	for _, key := range []string{"", "/", "a/", "/a", "a//b", "a%2", "a b", "%41", "a\x00"} {
		_, ok := Segments(key)
		require.False(t, ok, key)
	}
	require.True(t, Under("nodes/a", NodesKey))
	require.True(t, Under("rollout", RolloutKey))
	require.False(t, Under("nodesx/a", NodesKey))
}

func TestEncodeDecode(t *testing.T) {
	type value struct {
		Name string `json:"name,omitempty"`
		N    int    `json:"n,omitempty"`
	}
	for _, v := range []value{{}, {"a<b", 3}} {
		text, err := Encode(v, MaxValue)
		require.NoError(t, err)
		var got value
		require.NoError(t, Decode(Record{Key: "k", Value: text}, MaxValue, &got))
		require.Equal(t, v, got)
	}
	_, err := Encode(value{Name: strings.Repeat("x", MaxValue)}, MaxValue)
	require.ErrorContains(t, err, "want at most 65536 bytes")
	_, err = Encode([]int{1}, MaxValue)
	require.ErrorContains(t, err, "want a JSON object")
}

func TestDecodeRejectsHostileValues(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "not a JSON object",
		"null":                     "v: missing",
		"{}":                       "v: missing",
		"[1]":                      "not a JSON object",
		`{"v":2}`:                  "v: want 1, got 2",
		`{"v":"1"}`:                "not a JSON object with a version",
		`{"v":1,"n":"x"}`:          "cannot unmarshal",
		`{"v":1,"n":1e400}`:        "cannot unmarshal",
		"{\"v\":1,\"s\":\"\xff\"}": "not UTF-8",
		`{"v":1`:                   "not a JSON object",
		strings.Repeat("[", 9999):  "not a JSON object",
		`{"v":1,"s":"` + strings.Repeat("x", MaxValue) + `"}`: "want at most 65536 bytes, got 65550",
	} {
		var v struct {
			N int    `json:"n"`
			S string `json:"s"`
		}
		err := Decode(Record{Key: "overrides/\x1b[31m", Value: []byte(text)}, MaxValue, &v)
		require.ErrorContains(t, err, want, "%.40q", text)
		require.True(t, strings.HasPrefix(err.Error(), "overrides/?[31m: "), err.Error())
		require.Less(t, len(err.Error()), 500)
	}
	require.ErrorContains(t, Decode(Record{Key: "k", Size: 5 << 20}, MaxConfig, new(struct{})), "got 5242880")
}

func TestProblemsAreBounded(t *testing.T) {
	var p Problems
	for i := range 5000 {
		p.Note(fmt.Sprintf("overrides/%04d", i), fmt.Errorf("bad %s", strings.Repeat("x", 9000)))
	}
	list, more := p.List()
	require.Len(t, list, maxProblems)
	require.Equal(t, maxMoreProblems, more)
	require.Less(t, len(list[0].Text), 1100)
	require.False(t, p.Note("overrides/0000", nil))
	require.True(t, p.Note("nodes/a", &Problem{"nodes/a", "other"}))
	require.False(t, p.Note("nodes/a", &Problem{"nodes/a", "other"}))
	p.Retain(func(key string) bool { return key == "nodes/a" })
	list, more = p.List()
	require.Equal(t, []Problem{{"nodes/a", "other"}}, list)
	require.Zero(t, more)
}

func FuzzDecode(f *testing.F) {
	f.Add("nodes/a", []byte(`{"v":1,"name":"x"}`))
	f.Add("overrides/server/a/b", []byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		var v struct {
			V int `json:"v"`
		}
		if err := Decode(Record{Key: key, Value: value}, MaxValue, &v); err != nil {
			require.Less(t, len(err.Error()), 600)
		} else {
			require.Equal(t, Version, v.V)
		}
		if names, ok := Segments(key); ok {
			require.Equal(t, key, Key(names...))
		}
	})
}
