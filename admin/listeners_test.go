package admin

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

func TestUnixSocketModeAndRemoval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "a.sock")
	at := unixAddress(path)
	s := startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())

	other := New(slog.New(slog.DiscardHandler), unixSockets)
	_, err = other.Prepare(conf.Admin{Listen: []conf.Address{at}, Explicit: true}, &Guard{})
	require.ErrorContains(t, err, "listen on unix:"+path+": address already in use")
	res, _ := request(t, httpClient(at), "GET /healthz", "")
	require.Equal(t, 200, res.StatusCode, "the one that lives is left alone")

	s.Close()
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A directory with the set-group-ID bit passes its group to the socket.
func TestUnixSocketGroupFromDirectory(t *testing.T) {
	dir := t.TempDir()
	group := os.Getgid()
	if os.Getuid() == 0 { // who alone may give a directory to any group
		group = 4242
	}
	require.NoError(t, os.Chown(dir, -1, group))
	require.NoError(t, os.Chmod(dir, 0o750|os.ModeSetgid))
	at := unixAddress(filepath.Join(dir, "a.sock"))
	startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	info, err := os.Stat(at.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(socketMode), info.Mode().Perm())
	require.EqualValues(t, group, info.Sys().(*syscall.Stat_t).Gid)
}

func TestStaleUnixSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	ln.Close()
	require.NoError(t, os.Chmod(path, 0o777))
	startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{unixAddress(path)}, Explicit: true})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(socketMode), info.Mode().Perm())
	res, _ := request(t, httpClient(unixAddress(path)), "GET /healthz", "")
	require.Equal(t, 200, res.StatusCode)
}

func TestPrepareFailsWithoutEffect(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	free := freePort(t)
	port := free
	port.Addr = taken.Addr().(*net.TCPAddr).AddrPort()

	s := New(slog.New(slog.DiscardHandler), unixSockets)
	s.Start(newFakeWeir())
	defer s.Close()
	for _, spec := range []conf.Admin{
		{Listen: []conf.Address{free, unixAddress(file)}, Explicit: true},
		{Listen: []conf.Address{free, unixAddress(file + "/below/a.sock")}, Explicit: true},
		{Listen: []conf.Address{free, port}, Explicit: true},
	} {
		_, err := s.Prepare(spec, &Guard{})
		require.Error(t, err)
		ln, err := net.Listen("tcp", free.Addr.String())
		require.NoError(t, err, "nothing is left open")
		ln.Close()
	}
	for _, unusable := range []string{file, file + ".none"} {
		_, wrong := NewGuard(conf.Admin{TokenFile: unusable})
		require.Len(t, wrong, 1)
	}
	c, err := s.Prepare(conf.Admin{Listen: []conf.Address{unixAddress(file)}}, &Guard{})
	require.NoError(t, err, "the default may fail")
	c.Commit()
}

// Unchanged addresses keep their connections.
func TestAddressChangeKeepsUnchangedListeners(t *testing.T) {
	dir := t.TempDir()
	stays, goes, comes := unixAddress(filepath.Join(dir, "stays")), unixAddress(filepath.Join(dir, "goes")), unixAddress(filepath.Join(dir, "comes"))
	s := startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{stays, goes}, Explicit: true})
	stream, err := httpClient(stays).Get("http://weir/v1/events")
	require.NoError(t, err)
	defer stream.Body.Close()

	c, err := s.Prepare(conf.Admin{Listen: []conf.Address{stays, comes}, Explicit: true}, &Guard{})
	require.NoError(t, err)
	c.Commit()
	for at, want := range map[conf.Address]bool{stays: true, goes: false, comes: true} {
		require.Eventually(t, func() bool {
			conn, err := net.Dial("unix", at.Path)
			if err == nil {
				conn.Close()
			}
			return (err == nil) == want
		}, 15*time.Second, 5*time.Millisecond, "%v", at)
	}
	s.weir.(*fakeWeir).addEvent("reload")
	b := make([]byte, 1)
	_, err = stream.Body.Read(b)
	require.NoError(t, err)
}

// At the limit a new client replaces the longest idle one. If all are busy, the new client is closed at once.
func TestClientLimitReplacesIdleClients(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	connect := func() net.Conn {
		conn, err := net.Dial("unix", at.Path)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	gone := func(conn net.Conn, within time.Duration) bool {
		conn.SetReadDeadline(time.Now().Add(within))
		_, err := conn.Read(make([]byte, 1))
		nerr, ok := err.(net.Error)
		return err != nil && !(ok && nerr.Timeout())
	}
	served := func() bool {
		res, err := httpClient(at).Get("http://weir/healthz")
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	}
	var idle []net.Conn
	for i := range maxClients {
		conn := connect()
		if i%2 == 0 { // nor do these
			_, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: weir\r\nX: "))
			require.NoError(t, err)
		}
		idle = append(idle, conn)
	}
	for i := range 3 {
		require.True(t, served(), "in the place of one that asks for nothing")
		require.True(t, gone(idle[i], 15*time.Second), "the one that has waited longest: %d", i)
		connect()
	}
	require.False(t, gone(idle[maxClients-1], 20*time.Millisecond))

	work := func() net.Conn {
		conn := connect()
		_, err := conn.Write([]byte("PATCH /v1/clusters/c/servers/a HTTP/1.1\r\nHost: weir\r\nContent-Length: 20\r\n\r\n{"))
		require.NoError(t, err)
		return conn
	}
	var last net.Conn
	for range maxClients {
		last = work()
	}
	require.Eventually(t, func() bool {
		if served() { // in the place of one that had just come, and was not at work yet
			last = work()
			return false
		}
		return true
	}, 10*time.Second, 5*time.Millisecond, "all are at work")
	require.True(t, gone(connect(), 15*time.Second))
	last.Close()
	require.Eventually(t, served, 15*time.Second, 5*time.Millisecond)
}

// Only sockets that Prepare has opened change their owner, not the default socket of another weir.
func TestChownLeavesSocketsOfOthers(t *testing.T) {
	dir := t.TempDir()
	taken, own := unixAddress(filepath.Join(dir, "taken")), unixAddress(filepath.Join(dir, "own"))
	startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{taken}, Explicit: true})
	s := New(slog.New(slog.DiscardHandler), unixSockets)
	c, err := s.Prepare(conf.Admin{Listen: []conf.Address{taken, own}}, &Guard{})
	require.NoError(t, err)
	defer c.Discard()
	require.NoError(t, c.Chown(4242, 4243))
	for at, want := range map[conf.Address]uint32{taken: uint32(os.Getuid()), own: 4242} {
		info, err := os.Stat(at.Path)
		require.NoError(t, err)
		require.Equal(t, want, info.Sys().(*syscall.Stat_t).Uid, at)
	}
}

// The directories that were created for a socket disappear with it, also if it cannot be opened.
func TestCreatedDirectoriesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := New(slog.New(slog.DiscardHandler), unixSockets)
	c, err := s.Prepare(conf.Admin{Listen: []conf.Address{unixAddress(filepath.Join(dir, "mis", "typed", "a.sock"))}, Explicit: true}, &Guard{})
	require.NoError(t, err)
	c.Discard()
	_, err = s.Prepare(conf.Admin{Listen: []conf.Address{unixAddress(filepath.Join(dir, "mis", strings.Repeat("x", 200), "a.sock"))}, Explicit: true}, &Guard{})
	require.Error(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
