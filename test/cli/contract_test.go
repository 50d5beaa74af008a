// The API against its description: every response of a run is compared with the OpenAPI document that weir serves.

package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// contract is the description of an API, and the operations that have succeeded.
type contract struct {
	weirtest.API
	doc  *openapi3.T
	done map[string]bool
}

// operation returns the description of a request.
func (c *contract) operation(method, path string) (string, *openapi3.Operation) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for template, item := range c.doc.Paths.Map() {
		want := strings.Split(template, "/")
		same := len(want) == len(parts)
		for i := 0; same && i < len(want); i++ {
			same = want[i] == parts[i] || strings.HasPrefix(want[i], "{")
		}
		if same {
			return template, item.GetOperation(method)
		}
	}
	return "", nil
}

// holds sends a request, checks that it and the response match the description, and returns the response.
func (c *contract) holds(code int, request, body string) string {
	c.T.Helper()
	method, path, _ := strings.Cut(request, " ")
	got, text := c.Do(request, body)
	require.Equal(c.T, code, got, "%s: %s", request, text)
	template, op := c.operation(method, path)
	if code == http.StatusMethodNotAllowed {
		require.Nil(c.T, op, request)
		for _, other := range c.doc.Paths.Value(template).Operations() {
			op = other
		}
	}
	require.NotNil(c.T, op, "%s is not described", request)
	if body != "" && code < 300 {
		if kind := op.RequestBody.Value.Content.Get("application/json"); kind != nil {
			c.valid(request, kind.Schema.Value, body)
		}
	}
	response := op.Responses.Status(code)
	if response == nil {
		response = op.Responses.Default()
	}
	if code < 300 {
		require.NotSame(c.T, op.Responses.Default(), response, "%s: %d is not described", request, code)
		c.done[method+" "+template] = true
	}
	if kind := response.Value.Content.Get("application/json"); kind != nil {
		c.valid(request, kind.Schema.Value, text)
	} else if response.Value.Content == nil {
		require.Empty(c.T, text, request)
	}
	return text
}

func (c *contract) valid(what string, schema *openapi3.Schema, text string) {
	c.T.Helper()
	var v any
	require.NoError(c.T, json.Unmarshal([]byte(text), &v), what)
	require.NoError(c.T, schema.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()), "%s: %s", what, text)
}

func TestAPIMatchesDescription(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "max_fails = 1\nfail_timeout = \"1h\"\nprotected = false\nfailback = \"manual\"",
		Levels: [][]string{{host.Addr() + " name=A", "127.0.0.1:1 name=B"}, {host.Addr() + " name=C"}},
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"50ms\"\nfall = 1\nservers = [\"B\"]",
		More: weirtest.ListenerTables("m", nettest.Reserve(t), "names.invalid:1", "127.0.0.1:1") +
			"[cluster.t.topology]\ntype = \"sentinel\"\nsentinels = [\"127.0.0.1:1\"]\nmaster = \"t\"\n[[cluster.t.level]]\nservers = [\"127.0.0.1:1\"]\n" +
			"[[event]]\non = [\"server_down\"]\nurl = \"http://127.0.0.1:1/\"\n",
	}
	w, addr, a := weirtest.ServeAPI(t, l)
	text := a.MustDo("GET /v1/openapi.yaml", "")
	doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
	require.NoError(t, err)
	c := &contract{a, doc, map[string]bool{"GET /v1/openapi.yaml": true}}

	conn := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(conn))
	nettest.Wait(t, 10*time.Second, "B to be found down", func() bool { return a.ServerState(1) == "down" })
	c.holds(200, "GET /v1/status", "")
	var list []struct{ ID uint64 }
	require.NoError(t, json.Unmarshal([]byte(c.holds(200, "GET /v1/sessions?cluster=c", "")), &list))
	require.Len(t, list, 1)
	c.holds(204, fmt.Sprintf("DELETE /v1/sessions/%d", list[0].ID), "")
	for _, r := range []struct {
		code          int
		request, body string
	}{
		{200, "GET /", ""},
		{200, "GET /healthz", ""},
		{200, "GET /readyz", ""},
		{200, "GET /metrics", ""},
		{200, "GET /v1/history", ""},
		{200, "GET /v1/history?cluster=c&since=1h", ""},
		{200, "GET /v1/history?cluster=c&server=A&since=2000-01-01T00:00:00%2B01:00", ""},
		{404, "GET /v1/history?cluster=none", ""},
		{404, "GET /v1/history?cluster=c&server=none", ""},
		{400, "GET /v1/history?server=A", ""},
		{400, "GET /v1/history?since=never", ""},
		{200, "GET /v1/events?follow=false", ""},
		{200, "GET /v1/clusters", ""},
		{200, "GET /v1/clusters/c", ""},
		{201, "PUT /v1/clusters/new", `{"balance": "rr", "levels": [{"name": "one", "servers": ["127.0.0.1:1"]}], "checks": [{"type": "tcp"}]}`},
		{200, "PUT /v1/clusters/new", `{"levels": [{"servers": [{"address": "127.0.0.1:1", "name": "x"}]}]}`},
		{201, "POST /v1/clusters/c/servers", `"127.0.0.1:2 name=added weight=3"`},
		{201, "POST /v1/clusters/c/servers", `{"address": "127.0.0.1:3", "level": 2}`},
		{200, "GET /v1/clusters/c/servers/A", ""},
		{200, "PATCH /v1/clusters/c/servers/A", `{"state": "drain", "weight": 7, "max_sessions": 5, "reason": "why"}`},
		{200, "GET /v1/clusters/c/servers/A/explain", ""},
		{200, "PATCH /v1/clusters/c/servers/A", `{"state": null, "weight": null, "max_sessions": null}`},
		{200, "POST /v1/clusters/c/servers/A/feedback", `{"failed": true}`},
		{200, "DELETE /v1/clusters/c/servers/A/sessions", ""},
		{200, "GET /v1/status", ""},
		{200, "POST /v1/node/drain", `{"reason": "kernel"}`},
		{200, "POST /v1/node/ready", ""},
		{204, "POST /v1/clusters/c/failback", ""},
		{200, "POST /v1/plan", ""},
		{200, "POST /v1/plan", strings.Replace(a.AddTo(l.String()), "name=C", "name=D", 1)},
		{200, "POST /v1/reload", ""},
		{204, "DELETE /v1/clusters/c/servers/added", ""},
		{204, "DELETE /v1/clusters/c/servers/A", ""},
		{200, "GET /v1/clusters/c", ""},
		{200, "POST /v1/clusters/c/servers/A/restore", ""},
		{409, "POST /v1/clusters/c/servers/A/restore", ""},
		{404, "POST /v1/clusters/c/servers/none/restore", ""},
		{404, "POST /v1/clusters/none/servers/A/restore", ""},
		{204, "DELETE /v1/clusters/c/servers/A", ""},
		{204, "DELETE /v1/clusters/new", ""},

		{404, "GET /v1/clusters/none", ""},
		{404, "GET /v1/clusters/c/servers/none", ""},
		{404, "GET /v1/clusters/none/servers/A", ""},
		{404, "PATCH /v1/clusters/c/servers/none", `{"state": "drain"}`},
		{404, "DELETE /v1/clusters/c/servers/none", ""},
		{404, "DELETE /v1/clusters/c/servers/none/sessions", ""},
		{404, "POST /v1/clusters/c/servers/none/feedback", `{"failed": true}`},
		{404, "POST /v1/clusters/none/servers", `"127.0.0.1:1"`},
		{404, "POST /v1/clusters/none/failback", ""},
		{204, "POST /v1/clusters/t/topology/reset", ""},
		{409, "POST /v1/clusters/c/topology/reset", ""},
		{404, "POST /v1/clusters/none/topology/reset", ""},
		{200, "GET /v1/clusters/c/discover", ""},
		{404, "GET /v1/clusters/none/discover", ""},
		{200, "POST /v1/clusters/c/rebalance", `{"dry_run": true}`},
		{400, "POST /v1/clusters/c/rebalance", `{"dry": true}`},
		{404, "POST /v1/clusters/none/rebalance", ""},
		{404, "DELETE /v1/clusters/none", ""},
		{404, "DELETE /v1/sessions/999999", ""},
		{400, "DELETE /v1/sessions/one", ""},
		{405, "POST /v1/status", ""},
		{405, "PUT /v1/clusters", "{}"},
		{405, "GET /v1/reload", ""},
		{405, "OPTIONS /v1/clusters/c", ""},
		{409, "DELETE /v1/clusters/c", ""},
		{409, "POST /v1/clusters/c/servers", `{"address": "` + host.Addr() + `", "name": "C", "level": 2}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"state": "drian"}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"stat": "drain"}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"state": 7}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"weight": 257}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"weight": "7"}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"max_sessions": -1}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"weight": 1, "weight": 2}`},
		{400, "PATCH /v1/clusters/c/servers/C", `{}`},
		{400, "PATCH /v1/clusters/c/servers/C", `[]`},
		{400, "PATCH /v1/clusters/c/servers/C", `weight=7`},
		{400, "PATCH /v1/clusters/c/servers/C", `{"weight": 7} {}`},
		{400, "PATCH /v1/clusters/c/servers/C", ``},
		{400, "PATCH /v1/clusters/c/servers/C", strings.Repeat("[", 1000)},
		{400, "POST /v1/clusters/c/servers/C/feedback", `{}`},
		{400, "POST /v1/clusters/c/servers/C/feedback", `{"failed": "yes"}`},
		{400, "POST /v1/clusters/c/servers", `{}`},
		{400, "POST /v1/clusters/c/servers", `{"address": "127.0.0.1"}`},
		{400, "POST /v1/clusters/c/servers", `{"address": "127.0.0.1:1", "level": "none"}`},
		{400, "PUT /v1/clusters/c", `{"levels": []}`},
		{400, "PUT /v1/clusters/c", `{"levels": [{"servers": ["127.0.0.1:1"]}], "balance": "best"}`},
		{400, "PUT /v1/clusters/no%20name", `{"levels": [{"servers": ["127.0.0.1:1"]}]}`},
		{400, "GET /v1/sessions?limit=none", ""},
		{400, "GET /v1/sessions?sever=A", ""},
		{400, "GET /v1/events?follow=maybe", ""},
		{413, "PATCH /v1/clusters/c/servers/C", strings.Repeat(" ", 1<<20) + `{"weight": 7}`},
		{422, "POST /v1/plan", "what is this"},
		{400, "POST /v1/stop", `{"now": "yes"}`},
	} {
		c.holds(r.code, r.request, r.body)
	}
	for _, r := range []struct{ request, body, field string }{
		{"PATCH /v1/clusters/c/servers/C", `{"state": "drian"}`, "state"},
		{"PATCH /v1/clusters/c/servers/C", `{"wieght": 7}`, "wieght"},
		{"POST /v1/clusters/c/servers", `{"name": "x"}`, "address"},
		{"POST /v1/clusters/c/servers/C/feedback", `{}`, "failed"},
		{"PUT /v1/clusters/c", `{"levels": [{"servers": ["127.0.0.1:1 name=B", "127.0.0.1"]}]}`, "levels[0].servers[1].address"},
		{"PUT /v1/clusters/c", `{"levels": [{"servers": ["127.0.0.1:1"]}], "checks": [{"interval": "1s"}]}`, "checks[0].type"},
	} {
		var problem struct{ Error, Field string }
		require.NoError(t, json.Unmarshal([]byte(c.holds(400, r.request, r.body)), &problem))
		require.Equal(t, r.field, problem.Field, "%s: %s", r.body, problem.Error)
		if r.field == "wieght" {
			require.Contains(t, problem.Error, "did you mean weight?")
		}
	}
	w.WriteConfig("what is this")
	c.holds(422, "POST /v1/reload", "")
	c.holds(200, "GET /v1/status", "")
	c.holds(200, "POST /v1/stop", `{"now": true}`)
	require.Zero(t, w.WaitExit(10*time.Second))

	for template, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if template != "/v1/upgrade" && !isFleet(template) { // which have tests of their own
				require.True(t, c.done[method+" "+template], "%s %s was not tried", method, template)
			}
		}
	}
}
