package promotion_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// While hundreds of flows are promoted and demoted again and again, by reloads, upgrades and changes of routes, every datagram is answered
// rightly, and every one is counted once.
func TestPromotionsUnderLoad(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	host := ns.StartDatagrams("127.0.0.1:9000", nettest.EchoDatagram)
	api := weirtest.NewAPI(t)
	l := weirtest.Config{
		Listen: "127.0.0.1:5300", Runtime: `promote_interfaces = ["lo"]`, Levels: weirtest.OneLevel(host.Addr()),
		Listener: strings.NewReplacer("requests = 8", "requests = 2", `"1s"`, `"5s"`).Replace(listener),
	}
	w := weirtest.Options{Namespace: ns}.Start(t, api.AddTo(l.String()))
	w.Baseline["socket"]++ // to ask for routes
	stop := make(chan struct{})
	var group weirtest.Group
	for range weirtest.Scaled(200) {
		c := ns.DialDatagrams("", l.Listen)
		group.Go(func() error {
			buffer := make([]byte, 2000)
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				sent := make([]byte, 4+rand.IntN(1200))
				for i := range sent {
					sent[i] = byte(rand.Uint32())
				}
				if _, err := c.Write(sent); err != nil {
					return err
				}
				c.SetReadDeadline(time.Now().Add(20 * time.Second))
				n, err := c.Read(buffer)
				if err != nil {
					return err
				}
				if !bytes.Equal(sent, buffer[:n]) {
					return fmt.Errorf("%d bytes came back as %d", len(sent), n)
				}
			}
		})
	}
	off := l
	off.Listener = strings.Replace(l.Listener, `"auto"`, `"off"`, 1)
	for round := range 5 {
		nettest.Wait(t, 30*time.Second, "promotions", func() bool { return metricValue(t, api, "weir_promoted_sessions") > weirtest.Scaled(50) })
		for i := range 10 { // a change of routes every few milliseconds
			ns.Exec("ip", "route", []string{"add", "del"}[i%2], "10.77.0.0/24", "dev", "lo")
		}
		if round == 2 {
			w.Upgrade()
			continue
		}
		w.Reload(api.AddTo(off.String()))
		nettest.Wait(t, 30*time.Second, "the end of all promotions", func() bool { return metricValue(t, api, "weir_promoted_sessions") == 0 })
		w.Reload(api.AddTo(l.String()))
	}
	close(stop)
	require.NoError(t, group.Wait())
	for _, to := range []string{"servers", "clients"} {
		nettest.Wait(t, 20*time.Second, "all datagrams to be counted", func() bool {
			return metricValue(t, api, `weir_sent_to_`+to+`_datagrams_total{listener="l"}`) == host.Received()
		})
	}
}
