package topology

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestJoinAddress(t *testing.T) {
	for _, c := range [][3]string{
		{"10.0.0.1", "6379", "10.0.0.1:6379"}, {"::1", "6379", "[::1]:6379"}, {"::ffff:10.0.0.1", "06379", "10.0.0.1:6379"},
		{"Redis-1.Example.", "1", "redis-1.example:1"},
		{"", "6379", ""}, {"10.0.0.1", "0", ""}, {"10.0.0.1", "65536", ""}, {"10.0.0.1", "-1", ""}, {"a b", "1", ""}, {"\x1b[31m", "1", ""}, {"a:1", "1", ""},
	} {
		got, err := joinAddress(c[0], c[1])
		require.Equal(t, c[2], got)
		require.Equal(t, c[2] == "", err != nil)
	}
}

func TestSentinelMessageConcerns(t *testing.T) {
	for text, want := range map[string]bool{
		"mymaster 10.0.0.1 6379 10.0.0.2 6379":                          true,
		"master mymaster 10.0.0.1 6379":                                 true,
		"slave 10.0.0.2:6379 10.0.0.2 6379 @ mymaster 10.0.0.1 6379":    true,
		"mymaster2 10.0.0.1 6379 10.0.0.2 6379":                         false,
		"slave 10.0.0.2:6379 10.0.0.2 6379 @ notmymaster 10.0.0.1 6379": false,
		"": false,
	} {
		m := message{kind: "message", channel: "+switch-master", text: text}
		require.Equal(t, want, m.concerns("mymaster"), text)
	}
	require.False(t, (&message{kind: "subscribe", text: "mymaster"}).concerns("mymaster"))
}

// Replies of any shape end in an address and an epoch that are fit for use, or in an error.
func FuzzSentinelReplies(f *testing.F) {
	f.Add("10.0.0.1", "6379", "config-epoch", "7", "s_down,slave,disconnected")
	f.Add("redis-1.example", "1", "flags", "\x00", "")
	f.Fuzz(func(t *testing.T, a, b, c, d, e string) {
		texts := [][]byte{[]byte(a), []byte(b), []byte(c), []byte(d), []byte(e), nil}
		var address addressReply
		var master masterReply
		var replicas replicasReply
		var m message
		for i, text := range texts {
			address.add([]int{i}, text)
			master.add([]int{i}, text)
			m.add([]int{i}, text)
			for j, text := range texts {
				replicas.add([]int{i, j}, text)
				replicas.add([]int{i, j, 0}, text)
			}
		}
		for _, field := range []struct{ name, value string }{{"ip", a}, {"port", b}, {"flags", e}} {
			replicas.add([]int{9, 0}, []byte(field.name))
			replicas.add([]int{9, 1}, []byte(field.value))
		}
		replicas.endRow()
		if _, err := address.address(); err == nil {
			t.Fatal("six texts are no address")
		}
		_, _ = master.configEpoch()
		for _, r := range replicas.list {
			if !utf8.ValidString(r.address) || len(r.address) > maxHostName+8 || len(r.down) > 40 {
				t.Fatalf("%q %q", r.address, r.down)
			}
			for _, r := range r.address {
				if r <= ' ' || r > '~' {
					t.Fatalf("unprintable %q", replicas.list)
				}
			}
		}
		m.concerns(a)
		if joined, err := joinAddress(a, b); err == nil {
			if again := targetOf(joined); again.address != joined {
				t.Fatalf("%q changes to %q", joined, again.address)
			}
		}
	})
}
