package tcp_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// MariaDB's client and load generator work through weir, though the server sends first.
func TestMariaDBClients(t *testing.T) {
	t.Parallel()
	db := nettest.StartMariaDB(t)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(nettest.Reserve(t), db.Addr())})

	out, err := db.Client(addr, "-e", "CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY, text LONGTEXT);"+
		"INSERT INTO shop.item VALUES (1, REPEAT('weir', 500000)); SELECT LENGTH(text) FROM shop.item").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "2000000\n", string(out))
	out, err = db.Client(addr, "-e", "SELECT text FROM shop.item").CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("weir", 500_000)+"\n", string(out))

	slap := db.LoadGenerator(addr, "--concurrency=8", "--iterations=1", fmt.Sprintf("--number-of-queries=%d", weirtest.Scaled(500)),
		"--auto-generate-sql", "--auto-generate-sql-load-type=mixed")
	out, err = slap.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, w.Warnings())
	require.NotContains(t, db.Log(), "Aborted connection")
}

// A login session continues through reloads.
func TestMariaDBSessionLivesThroughReloads(t *testing.T) {
	t.Parallel()
	db := nettest.StartMariaDB(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(db.Addr())}
	w := weirtest.Start(t, l.String())
	client := db.Client(l.Listen, "--unbuffered")
	stdin, err := client.StdinPipe()
	require.NoError(t, err)
	stdout, err := client.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, client.Start())
	query := func(q, want string) {
		_, err := io.WriteString(stdin, q+";\n")
		require.NoError(t, err)
		got := make([]byte, len(want))
		done := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(stdout, got)
			done <- err
		}()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			client.Process.Kill()
			require.Fail(t, "no answer")
		}
		require.Equal(t, want, string(got))
	}
	query("SET @kept = 7; SELECT @kept", "7\n")
	for i := range 5 {
		l.Levels = weirtest.OneLevel(fmt.Sprintf("%s weight=%d", db.Addr(), i+2), nettest.Reserve(t))
		w.Reload(l.String())
		query("SELECT @kept", "7\n")
	}
	stdin.Close()
	require.NoError(t, client.Wait())
}
