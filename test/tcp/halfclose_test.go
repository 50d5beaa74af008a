package tcp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A client that has closed its side still gets the response, however long the server takes.
func TestClientHalfCloseThenResponse(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.CountToEOF(1200*time.Millisecond))
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	_, err := c.Write(make([]byte, 100_000))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "100000", string(data))
	require.Equal(t, nettest.EOF, end)
	r := w.SessionRecord(c)
	require.Equal(t, 100_000, r.Int("bytes_up"))
	require.Equal(t, 6, r.Int("bytes_down"))
}

// A server that closes its side first still gets everything the client writes.
func TestServerHalfCloseThenUpload(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "hello", CloseSide: true}
	host := nettest.Start(t, rec.Handle)
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "hello", string(data))
	require.Equal(t, nettest.EOF, end)
	for range 20 {
		_, err := c.Write(make([]byte, 1000))
		require.NoError(t, err)
		time.Sleep(20 * time.Millisecond)
	}
	c.Close()
	v := rec.WaitEnd(t, 0, 5*time.Second)
	require.EqualValues(t, 20_000, v.Bytes)
	require.Equal(t, nettest.EOF, v.End)
}

// FINs that cross with a megabyte queued in both directions lose no byte, release everything immediately and are no
// error.
func TestFINsCross(t *testing.T) {
	t.Parallel()
	d := &nettest.Duplex{}
	host := nettest.Start(t, d.Handle)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	for i := range 10 {
		require.NoError(t, d.Run(nettest.Dial(t, addr), uint64(i), 1<<20, 1<<20))
		w.WaitSockets(weirtest.Bound(time.Second))
	}
	nettest.Wait(t, 5*time.Second, "the server's verdicts", func() bool { return d.Good() == 10 })
	require.Empty(t, w.Warnings())
}

// A client that closes its side before it sends a byte still gets everything from a server that sends first.
func TestFINBeforeAnyByte(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Send(11, 5<<20))
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, c.CloseWrite())
	c.SetDeadline(time.Now().Add(10 * time.Second))
	require.NoError(t, nettest.Expect(c, 11, 5<<20))
}

// half_close_timeout bounds silence, not the length of a response: every byte restarts it.
func TestSlowResponseIsNotCut(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.TrickleAfterEOF(20, 250*time.Millisecond))
	_, addr := weirtest.Serve(t, weirtest.Config{Listener: `half_close_timeout = "2s"`, Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, c.CloseWrite())
	data, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Len(t, data, 20)
	require.Equal(t, nettest.EOF, end)
}

// A half-closed session without traffic ends after half_close_timeout, with a reset to both sides.
func TestHalfCloseTimeout(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{StayOpen: true}
	host := nettest.Start(t, rec.Handle)
	w, addr := weirtest.Serve(t, weirtest.Config{Listener: `half_close_timeout = "2s"`, Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.WriteText(c, "bye"))
	begin := time.Now()
	require.NoError(t, c.CloseWrite())
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	weirtest.RequireBetween(t, 2*time.Second, time.Since(begin))
	require.Equal(t, nettest.Reset, end, "a session that was cut is not shown as a clean end")
	require.Contains(t, w.SessionRecord(c).Termination(), "half_close_timeout")
	w.WaitSockets(weirtest.Bound(time.Second))
}

// The same holds if the client has vanished from the network after its FIN: everything is released.
func TestHalfCloseTimeoutOfVanishedClient(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Start("127.0.0.1:7001", nettest.Silent)
	w := weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "127.0.0.1:7000", Listener: `half_close_timeout = "2s"`, Levels: weirtest.OneLevel("127.0.0.1:7001"),
	}.String())
	c := ns.Dial("127.0.0.1:7000")
	require.NoError(t, weirtest.WriteText(c, "bye"))
	begin := time.Now()
	require.NoError(t, c.CloseWrite())
	// The FIN is delivered before the filter is set: loopback delivers immediately.
	port := uint16(c.LocalAddr().(*net.TCPAddr).Port)
	ns.DropAll(port)
	require.Contains(t, w.SessionRecord(c).Termination(), "half_close_timeout")
	weirtest.RequireBetween(t, 2*time.Second, time.Since(begin))
	w.WaitSockets(weirtest.Bound(time.Second))
}

// While a server does not read, the client's data and FIN wait; nothing is lost and nothing is cut.
func TestFINWaitsForClosedWindow(t *testing.T) {
	t.Parallel()
	const size = 2 << 20
	rec := &nettest.Recorder{Pause: 3 * time.Second, Keep: size}
	host := nettest.Start(t, rec.Handle)
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	want, err := io.ReadAll(io.LimitReader(nettest.Pattern(5), size))
	require.NoError(t, err)
	c := nettest.Dial(t, addr)
	_, err = c.Write(want)
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	v := rec.WaitEnd(t, 0, 10*time.Second)
	require.Equal(t, nettest.EOF, v.End)
	require.True(t, bytes.Equal(want, v.Data), "%d of %d bytes, or others", v.Bytes, size)
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, nettest.EOF, end)
}

// Data and FIN that arrive during the dial keep their order.
func TestFINWhileDialing(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.CountToEOF(0))
	_, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: `connect_timeout = "300ms"`, Levels: weirtest.OneLevel(nettest.FullBacklog(t), host.Addr()),
	})
	c := nettest.Dial(t, addr)
	_, err := c.Write(make([]byte, 16_000))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "16000", string(data))
	require.Equal(t, nettest.EOF, end)
}

// Clients on a unix socket can half-close.
func TestHalfCloseOnUnixSocket(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.CountToEOF(200*time.Millisecond))
	path := fmt.Sprintf("%s/weir.sock", weirtest.ShortTempDir(t))
	weirtest.Serve(t, weirtest.Config{Listen: "unix:" + path, Levels: weirtest.OneLevel(host.Addr())})
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write(make([]byte, 50_000))
	require.NoError(t, err)
	require.NoError(t, c.(*net.UnixConn).CloseWrite())
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "50000", string(data))
	require.Equal(t, nettest.EOF, end)
}

// A session with one closed side is not idle while the other side sends.
func TestLongDownloadAfterClientFIN(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		io.Copy(io.Discard, c)
		for range 12 {
			c.Write(make([]byte, 200_000))
			time.Sleep(250 * time.Millisecond)
		}
	})
	_, addr := weirtest.Serve(t, weirtest.Config{
		Listener: "half_close_timeout = \"2s\"\nclient_idle_timeout = \"2s\"", Levels: weirtest.OneLevel(host.Addr()),
	})
	c := nettest.Dial(t, addr)
	require.NoError(t, c.CloseWrite())
	data, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Len(t, data, 12*200_000)
	require.Equal(t, nettest.EOF, end)
}
