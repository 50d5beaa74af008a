package checks

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// readValues returns the texts of a reply with their places.
func readValues(reply string, limit int, dripping bool) (out []string, err error) {
	r := newRESPReader(strings.NewReader(reply))
	if dripping {
		r = newRESPReader(iotest.OneByteReader(strings.NewReader(reply)))
	}
	err = r.values(limit, func(place []int, text []byte) {
		s := "nil"
		if text != nil {
			s = string(text)
		}
		out = append(out, fmt.Sprint(place, s))
	})
	return out, err
}

func TestRedisArrays(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		reply string
		want  []string
		err   string
	}{
		{"+OK\r\n", []string{"[]OK"}, ""},
		{":7\r\n", []string{"[]7"}, ""},
		{"$-1\r\n", []string{"[]nil"}, ""},
		{"*-1\r\n", []string{"[]nil"}, ""},
		{"*0\r\n", nil, ""},
		{"$0\r\n\r\n", []string{"[]"}, ""},
		{"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n", []string{"[0]10.0.0.1", "[1]6379"}, ""},
		{"*2\r\n*1\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", []string{"[0 0]a", "[1 0]1", "[1 1]nil"}, ""},
		{"$4\r\na\r\nb\r\n", []string{"[]a\r\nb"}, ""},
		{"$2000\r\n" + long + "\r\n", []string{"[]" + long[:maxLine]}, ""},
		{"-ERR no\r\n", nil, `server replied "ERR no"`},
		{"*1\r\n-ERR no\r\n", nil, "error within an array"},
		{"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", nil, "nested too deeply"},
		{"*1000000000\r\n" + strings.Repeat("*0\r\n", 1000), nil, "reply too large (over 2500 bytes)"},
		{"$3000\r\n", nil, "reply too large (over 2500 bytes)"},
		{"*x\r\n", nil, "wrong length"},
		{"*-2\r\n", nil, "wrong length"},
		{"$3\r\nabcd\r\n", []string{"[]abc"}, "wrong length"},
		{"$3\r\nab", nil, `connection closed by the server: expected a Redis reply, got "ab"`},
		{"*2\r\n+a\r\n", []string{"[0]a"}, "connection closed by the server"},
		{"", nil, "connection closed by the server"},
		{"HTTP/1.1 200 OK\r\n", nil, "not a Redis reply"},
		{"\n", nil, "empty line"},
	} {
		for _, dripping := range []bool{false, true} {
			got, err := readValues(c.reply, 2500, dripping)
			if c.err != "" {
				require.ErrorContains(t, err, c.err, c.reply)
				if c.want == nil {
					continue
				}
			} else {
				require.NoError(t, err, c.reply)
			}
			require.Equal(t, c.want, got, c.reply)
		}
	}
}

func FuzzRedisArrays(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "*2\r\n*1\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", "*-1\r\n", "-ERR\r\n", "$3\r\nabcd\r\n", "*9\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		whole, wholeErr := readValues(reply, 10_000, false)
		dripped, drippedErr := readValues(reply, 10_000, true)
		if (wholeErr == nil) != (drippedErr == nil) || wholeErr == nil && fmt.Sprint(whole) != fmt.Sprint(dripped) {
			t.Fatalf("%q, %v when whole; %q, %v when dripped", whole, wholeErr, dripped, drippedErr)
		}
		if len(whole) > 10_000/3 {
			t.Fatalf("%d texts", len(whole))
		}
		for _, text := range whole {
			if len(text) > maxLine+40 {
				t.Fatalf("text of %d bytes", len(text))
			}
		}
	})
}

func TestRedisClient(t *testing.T) {
	s := nettest.StartRedis(t, "--requirepass", "secret-password")
	dial := func(password string) (*RedisConn, error) {
		client, err := Redis{User: "default", Password: Secret{Value: password}}.Client()
		require.NoError(t, err)
		return client.Dial(context.Background(), 5*time.Second, Target{Address: s.Addr()})
	}
	_, err := dial("wrong-password")
	require.ErrorContains(t, err, "AUTH: server replied \"WRONGPASS")
	require.True(t, IsRedisError(err))
	c, err := dial("secret-password")
	require.NoError(t, err)
	defer c.Close()
	soon := func() time.Time { return time.Now().Add(5 * time.Second) }
	var got []string
	add := func(place []int, text []byte) { got = append(got, fmt.Sprint(place, string(text))) }
	require.NoError(t, c.Send(soon(), []string{"RPUSH", "list", "a", "b"}, []string{"LRANGE", "list", "0", "-1"}, []string{"NO-SUCH"}, []string{"PING"}))
	for i := range 4 {
		err := c.Receive(soon(), 1000, add)
		require.Equal(t, i == 2, IsRedisError(err), "%v", err)
	}
	require.Equal(t, []string{"[]2", "[0]a", "[1]b", "[]PONG"}, got)

	// A wait that ends leaves the connection usable.
	require.ErrorIs(t, c.Await(time.Now().Add(20*time.Millisecond)), context.DeadlineExceeded)
	require.NoError(t, c.Send(soon(), []string{"PING"}))
	require.NoError(t, c.Await(soon()))
	require.NoError(t, c.Await(soon()), "the reply has begun to arrive")
	require.NoError(t, c.Receive(soon(), 1000, add))
	s.Kill()
	require.ErrorIs(t, c.Await(soon()), errClosed)
}

// The context of Dial interrupts later calls, whatever their deadline.
func TestRedisClientContext(t *testing.T) {
	h := nettest.Start(t, nettest.Silent)
	client, err := Redis{}.Client()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	c, err := client.Dial(ctx, time.Minute, Target{Address: h.Addr()})
	require.NoError(t, err)
	defer c.Close()
	time.AfterFunc(20*time.Millisecond, cancel)
	begin := time.Now()
	require.ErrorIs(t, c.Await(time.Now().Add(time.Minute)), context.Canceled)
	require.ErrorIs(t, c.Receive(time.Now().Add(time.Minute), 1000, nil), context.Canceled)
	require.ErrorIs(t, c.Send(time.Now().Add(time.Minute), []string{"PING"}), context.Canceled)
	require.Less(t, nettest.Elapsed(begin), 5*time.Second)
	_, err = client.Dial(ctx, time.Minute, Target{Address: h.Addr()})
	require.ErrorIs(t, err, context.Canceled)
}

func TestRedisClientPasswordIsRedacted(t *testing.T) {
	const password = "s3cr3t-password"
	h := nettest.Start(t, runScript([2]string{"AUTH", "+OK\r\n"}, [2]string{"PING", "-ERR " + password + "\r\n"}))
	client, err := Redis{Password: Secret{Value: password}}.Client()
	require.NoError(t, err)
	c, err := client.Dial(context.Background(), 5*time.Second, Target{Address: h.Addr()})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Send(time.Now().Add(5*time.Second), []string{"PING"}))
	err = c.Receive(time.Now().Add(5*time.Second), 1000, nil)
	require.EqualError(t, err, `server replied "ERR ***"`)
	require.True(t, IsRedisError(err))
	_, err = Redis{Password: Secret{File: "/nonexistent"}}.Client()
	require.ErrorContains(t, err, "password_file")
}
