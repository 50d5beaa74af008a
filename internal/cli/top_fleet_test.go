package cli

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/status"
)

// fakeNode is the API of a node.
type fakeNode struct {
	*httptest.Server
	doc status.Fleet

	mu     sync.Mutex
	tokens []string // of the requests
}

func startNode(t *testing.T, name string, secure bool) *fakeNode {
	n := &fakeNode{doc: status.Fleet{FleetLink: status.FleetLink{Node: name, Connected: true}}}
	n.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.tokens = append(n.tokens, r.Header.Get("Authorization"))
		json.NewEncoder(w).Encode(n.doc)
	}))
	if secure {
		n.StartTLS()
	} else {
		n.Start()
	}
	t.Cleanup(n.Close)
	return n
}

func (n *fakeNode) address() string { return n.Listener.Addr().String() }

func tokenFile(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("secret"), 0o600))
	return file
}

// askFleet asks a node about its fleet, and the others.
func askFleet(t *testing.T, flags *clientFlags, given ...string) topFleetResponse {
	c, err := flags.client()
	require.NoError(t, err)
	return (&nodeClients{flags, given}).fleet(t.Context(), c)
}

// Each node answers for itself. An address that belongs to another node is no answer. The token does not go to an address from the store,
// unless TLS and an authority of the operator prove what is there.
func TestNodesAnswerForThemselves(t *testing.T) {
	a, b := startNode(t, "a", false), startNode(t, "b", false)
	a.doc.Members = []status.FleetNode{{Name: "a", Self: true}, {Name: "b", API: []string{"0.0.0.0:1", b.address()}}, {Name: "c", API: []string{b.address()}}, {Name: "d"}}
	flags := &clientFlags{admin: a.address(), tokenFile: tokenFile(t)}
	r := askFleet(t, flags)
	require.NoError(t, r.err)
	require.Len(t, r.answers, 2)
	require.Equal(t, "b", r.answers[0].fleet.Node)
	require.Nil(t, r.answers[1].fleet)
	require.Contains(t, r.answers[1].err, "is node b")
	require.Equal(t, []string{"Bearer secret"}, a.tokens)
	require.Equal(t, []string{"", ""}, b.tokens)

	r = askFleet(t, flags, b.address())
	require.Equal(t, "b", r.answers[0].fleet.Node)
	require.Equal(t, "Bearer secret", b.tokens[2], "the operator has named the address")
	a.Close()
	r = askFleet(t, flags, b.address())
	require.Error(t, r.err)
	require.NotNil(t, r.answers[0].fleet, "without the first node, too")

	secure, other := startNode(t, "a", true), startNode(t, "b", true)
	secure.doc.Members = []status.FleetNode{{Name: "b", API: []string{other.address()}}}
	flags.admin, flags.caFile = "https://"+secure.address(), filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(flags.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	r = askFleet(t, flags)
	require.NoError(t, r.err)
	require.NotNil(t, r.answers[0].fleet)
	require.Equal(t, []string{"Bearer secret"}, other.tokens)
}

// A node that answers without an end takes little memory.
func TestNodeWithEndlessAnswer(t *testing.T) {
	a := startNode(t, "a", false)
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := []byte(strings.Repeat(" ", 1<<20))
		for {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	a.doc.Members = []status.FleetNode{{Name: "b", API: []string{endless.Listener.Addr().String()}}}
	r := askFleet(t, &clientFlags{admin: a.address()})
	require.Contains(t, r.answers[0].err, "larger than 4 MB")
}

// Answers of nodes precede what they have told the store; without a store, they are all there is.
func TestFleetRows(t *testing.T) {
	s := estateScreen()
	s.showFleet(fleetOf("a", "1"), nil, []nodeAnswer{{node: "edge-2", fleet: &status.Fleet{Members: []status.FleetNode{
		{Name: "edge-2", Self: true, Sessions: 7, State: "ready"}, {Name: "a", Sessions: 9}}}}})
	rows := s.fleetRows()
	require.Len(t, rows, 3)
	require.Equal(t, "this node", rows[0].source)
	require.Equal(t, 1432, rows[0].Sessions)
	require.Equal(t, 7, rows[1].Sessions)
	require.Equal(t, "store, 2s ago", rows[2].source)

	s = newScreen(false)
	s.fleet.asked = true
	s.show(estate(1))
	require.True(t, s.hasFleet())
	s.press("f")
	require.Contains(t, strings.Join(s.draw(80, 24), "\n"), "waiting for a response")
	s.showFleet(&status.Fleet{}, http.ErrHandlerTimeout, []nodeAnswer{{node: "b", fleet: &status.Fleet{Members: []status.FleetNode{{Name: "b", Self: true, Sessions: 7}}}}})
	text := strings.Join(s.draw(80, 24), "\n")
	require.Contains(t, text, http.ErrHandlerTimeout.Error())
	require.Regexp(t, `(?m)^b +ready +7 `, strings.ReplaceAll(text, "0s", ""))
}

// Names of nodes are keys of maps, too: they cannot control the terminal.
func TestFleetTextIsPlain(t *testing.T) {
	s := estateScreen()
	s.press("f")
	f := fleetOf("a\x1b]0;x\x07", "1\u009b31m")
	s.showFleet(f, nil, []nodeAnswer{{address: "\x1b[2J", err: "\u202e"}})
	for _, size := range [][2]int{{40, 60}, {120, 60}} {
		for _, line := range s.draw(size[0], size[1]) {
			require.Equal(t, plain(line), line)
		}
	}
}
