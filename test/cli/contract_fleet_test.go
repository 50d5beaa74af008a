package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// The requests about a fleet, at one of its two nodes, match the description.
func TestFleetAPIMatchesDescription(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	store := nettest.StartEtcd(t, 1).URLs()[0]
	start := func(name, share string) (*weirtest.Weir, weirtest.API) {
		state, _ := weirtest.StateFile(t)
		a := weirtest.NewAPI(t)
		w := weirtest.Start(t, a.AddTo(weirtest.Config{
			Listen: nettest.Reserve(t), Runtime: state, Cluster: "max_sessions = 100", Levels: weirtest.OneLevel(host.Addr()),
			More: fmt.Sprintf("[fleet]\nendpoints = [%q]\nprefix = \"/weir/test\"\nnode = %q\nttl = \"2s\"\nlimit_reserve = \"0s\"\nshare = %s\n", store, name, share),
		}.String()))
		w.Baseline = nil // the connections to the store come and go
		return w, a
	}
	_, a := start("n1", `["overrides", "limits", "config"]`)
	other, _ := start("n2", `["overrides", "limits"]`)
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.MustDo("GET /v1/openapi.yaml", "")))
	require.NoError(t, err)
	c := &contract{a, doc, map[string]bool{}}
	waitFleet := func(what string, is func(status.Fleet) bool) {
		nettest.Wait(t, time.Minute, what, func() bool {
			var f status.Fleet
			require.NoError(t, json.Unmarshal([]byte(c.holds(200, "GET /v1/fleet", "")), &f))
			return is(f)
		})
	}
	waitFleet("both nodes to have parts of the limit", func(f status.Fleet) bool {
		return f.Connected && len(f.Members) == 2 && len(f.Limits) == 1 && f.Limits[0].Part == 50
	})
	c.holds(200, "POST /v1/fleet/nodes/n2/drain", `{"reason": "test"}`)
	c.holds(200, "POST /v1/fleet/nodes/n2/ready", "")
	c.holds(404, "POST /v1/fleet/nodes/n3/drain", "{}")
	other.Kill()
	waitFleet("the parts of the other node to be reserved", func(f status.Fleet) bool {
		return len(f.Members) == 1 && f.Limits[0].Reserved["n2"] == 50
	})
	c.holds(204, "DELETE /v1/fleet/nodes/n2", "")
	c.holds(404, "DELETE /v1/fleet/nodes/n3", "")

	rollout := func(request, body string) {
		c.holds(202, request, body)
		nettest.Wait(t, time.Minute, request+" to end", func() bool {
			var s status.SharedConfig
			require.NoError(t, json.Unmarshal([]byte(c.holds(200, "GET /v1/fleet/config", "")), &s))
			return s.Rollout != nil && !s.Rollout.Active
		})
	}
	text := fmt.Sprintf("[[listener]]\nname = \"l\"\naddress = %q\ncluster = \"c\"\n[cluster.c]\n[[cluster.c.level]]\nservers = [%q]\n", nettest.Reserve(t), host.Addr())
	for _, more := range []string{"", "balance = \"rr\"\n"} {
		body, err := json.Marshal(map[string]any{"text": strings.Replace(text, "[cluster.c]\n", "[cluster.c]\n"+more, 1), "pause": "0s"})
		require.NoError(t, err)
		rollout("POST /v1/fleet/config", string(body))
	}
	c.holds(422, "POST /v1/fleet/config", `{"text": "what is this"}`)
	rollout("POST /v1/fleet/config/rollback", "")
	rollout("POST /v1/fleet/config/reset", "")
	a.MustDo("POST /v1/clusters/c/servers?local=true", `{"address": "127.0.0.1:1", "name": "mine"}`)
	c.holds(204, "POST /v1/fleet/clusters/c/follow", "")
	c.holds(409, "POST /v1/fleet/clusters/c/follow", "")
	c.holds(204, "POST /v1/fleet/reset", "")

	for template, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if isFleet(template) {
				require.True(t, c.done[method+" "+template], "%s %s was not tried", method, template)
			}
		}
	}
}

// isFleet reports whether a path is about the fleet of a node.
func isFleet(template string) bool { return strings.HasPrefix(template, "/v1/fleet") }
