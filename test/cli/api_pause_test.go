package cli_test

import (
	"bufio"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The rest of a request arrives while weir is stopped for longer than a client may take for the headers: it is answered.
func TestRequestDuringPauseIsAnswered(t *testing.T) {
	t.Parallel()
	addr := nettest.Reserve(t)
	config := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(nettest.Start(t, nettest.Echo).Addr())}
	w := weirtest.Start(t, weirtest.NewAPI(t).AddTo(config.String(), addr))
	c := nettest.Dial(t, addr)
	weirtest.WriteText(c, "GET /healthz HTTP/1.1\r\n")
	reply, err := http.Get("http://" + addr + "/healthz") // the other client was accepted before
	require.NoError(t, err)
	reply.Body.Close()
	w.Signal(syscall.SIGSTOP)
	time.Sleep(6 * time.Second)
	weirtest.WriteText(c, "Host: localhost\r\n\r\n")
	w.Signal(syscall.SIGCONT)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	reply, err = http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	defer reply.Body.Close()
	require.Equal(t, http.StatusOK, reply.StatusCode)
	_, err = io.Copy(io.Discard, reply.Body)
	require.NoError(t, err)
}
