package checks

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/agentcheck"
	"weir/internal/nettest"
)

func TestAgent(t *testing.T) {
	h := nettest.Start(t, nettest.SendText("75%,maxconn:30,maint,down #disk\n"))
	report, err := runCheck(t, Agent{}, h.Addr())
	require.NoError(t, err)
	require.Equal(t, &agentcheck.Advice{
		Health: agentcheck.HealthDown, Word: "down", Admin: agentcheck.AdminMaint,
		Weight:      agentcheck.Weight{Kind: agentcheck.WeightPercent, Value: 75},
		MaxSessions: 30, HasMaxSessions: true, Text: "disk",
	}, report.Advice)
	require.Equal(t, "maint 75% maxconn:30 down #disk", report.Detail)
}

func TestAgentSendIsVerbatim(t *testing.T) {
	var h received
	host := nettest.Start(t, recordScript(&h, [2]string{"pouet\n", "up\n"}))
	report, err := runCheck(t, Agent{Send: []byte("pouet\n")}, host.Addr())
	require.NoError(t, err)
	require.Equal(t, "up", report.Detail)
	require.Equal(t, "pouet\n", h.String())
}

func TestAgentWithoutAdvice(t *testing.T) {
	for _, c := range []struct {
		name string
		host nettest.Handler
		want string
	}{
		{"silent", nettest.Silent, "no advice: timed out"},
		{"closes", nettest.SendText(""), "no advice: empty agent reply"},
		{"incomplete", nettest.SendText("up"), "no advice: agent reply without a line end"},
		{"a gigabyte", sendEndless("", "up "), "no advice: agent reply without a line end in its first 16384 bytes"},
		{"16,385 bytes", nettest.SendText(strings.Repeat("a", 16385)), "in its first 16384 bytes"},
		{"dripping", sendPieces(50*time.Millisecond, strings.Split(strings.Repeat("u p ", 20), " ")...), "no advice: timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			report, err := checkWithin(t, Agent{}, Target{Address: h.Addr()}, limitFor(c.want))
			require.ErrorContains(t, err, c.want)
			require.Nil(t, report.Advice)
		})
	}
}

func TestAgentRepliesBeforeReading(t *testing.T) {
	h := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "drain\n")
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	report, err := runCheck(t, Agent{Send: []byte("anybody there?\n")}, h.Addr())
	require.NoError(t, err)
	require.Equal(t, agentcheck.AdminDrain, report.Advice.Admin)
}

func TestAgentAgainstAgentcheckServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	answer, err := agentcheck.FixedReply("50%")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- (&agentcheck.Server{Reply: answer}).Serve(ctx, l) }()
	for range 20 {
		report, err := runCheck(t, Agent{Send: []byte("how?\n")}, l.Addr().String())
		require.NoError(t, err)
		require.Equal(t, "50%", report.Detail)
	}
	cancel()
	require.NoError(t, <-done)
}

func TestAgentHTTP(t *testing.T) {
	for _, c := range []struct {
		name   string
		host   nettest.Handler
		detail string
		want   string
	}{
		{"a line", status("HTTP/1.1 200 OK", "drain 20%\r\nup\n"), "drain 20%", ""},
		{"a whole body", status("HTTP/1.1 200 OK", "failed"), "failed", ""},
		{"a whole body in chunks", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n"}), "up", ""},
		{"half a body", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup"}), "", "no advice: agent reply without a line end"},
		{"a body that may be half", runScript([2]string{"\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nup"}), "", "no advice: agent reply without a line end"},
		{"a body that hangs", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup"}, [2]string{"never", ""}), "", "no advice: timed out"},
		{"no body", status("HTTP/1.1 204 No Content", ""), "", "no advice: empty agent reply"},
		{"a line, and then nothing", runScript([2]string{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup\n"}, [2]string{"never", ""}), "up", ""},
		{"a long description", status("HTTP/1.1 200 OK", "up #"+strings.Repeat("a", 2000)), "up #" + strings.Repeat("a", 116) + "…", ""},
		{"an error page", status("HTTP/1.1 503 Service Unavailable", "down\n"), "", `status: expected 2xx, got "503 Service Unavailable"`},
		{"an endless body", sendEndless("HTTP/1.1 200 OK\r\n\r\n", "up "), "", "no advice: agent reply without a line end in its first 16384 bytes"},
		{"not HTTP", nettest.SendText("up\n"), "", "not an HTTP reply"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			report, err := checkWithin(t, AgentHTTP{}, Target{Address: h.Addr()}, limitFor(c.want))
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.Nil(t, report.Advice)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.detail, report.Detail)
		})
	}
}
