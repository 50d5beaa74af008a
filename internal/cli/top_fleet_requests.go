package cli

// The requests about a fleet: to the weir that the screen is of, and to each other node.

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/status"
)

// Bounds of the requests to nodes. A fleet view of more nodes shows what the others have told the store.
const (
	nodeTimeout   = 3 * time.Second
	maxNodesAsked = 64
	nodeRequests  = 8 // at once

	maxNodeResponse = 4 << 20
)

// nodeClients makes clients for the APIs of nodes.
type nodeClients struct {
	flags *clientFlags
	given []string // addresses that the operator has named
}

// named returns a client for an address that the operator has named. It sends the token, as it does to --admin.
func (n *nodeClients) named(address string) (*client, error) {
	flags := *n.flags
	flags.admin = address
	return flags.client()
}

// told returns a client for an address that a node has told the store. Who may write to the store could name an address of his own, so
// the token goes there only if a certificate of --ca-file proves that the address belongs to a node.
func (n *nodeClients) told(address string) (*client, error) {
	flags := *n.flags
	flags.admin = address
	secure := strings.HasPrefix(adminAddress(n.flags), "https://")
	if secure {
		flags.admin = "https://" + address
	}
	c, err := flags.client()
	if err == nil && !(secure && flags.caFile != "") {
		c.token = ""
	}
	return c, err
}

// nodeAddresses returns the addresses of a node that others can reach.
func nodeAddresses(n *status.FleetNode) []string {
	return slices.DeleteFunc(slices.Clone(n.API), func(address string) bool {
		host, _, err := net.SplitHostPort(address)
		ip, ipErr := netip.ParseAddr(host)
		return err != nil || ipErr == nil && ip.IsUnspecified()
	})
}

// fleet asks the weir of c for its fleet, and then each node for itself.
func (n *nodeClients) fleet(ctx context.Context, c *client) topFleetResponse {
	var doc status.Fleet
	_, err := c.do(ctx, http.MethodGet, "/v1/fleet", nil, &doc)
	type target struct {
		node      string
		addresses []string
		named     bool
	}
	var targets []target
	for _, address := range n.given {
		targets = append(targets, target{"", []string{address}, true})
	}
	if err == nil && len(n.given) == 0 {
		for i := range doc.Members {
			m := &doc.Members[i]
			if list := nodeAddresses(m); !m.Self && len(list) > 0 {
				targets = append(targets, target{m.Name, list, false})
			}
		}
	}
	targets = targets[:min(len(targets), maxNodesAsked)]
	answers := make([]nodeAnswer, len(targets))
	slots := make(chan struct{}, nodeRequests)
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
			defer cancel()
			for _, address := range t.addresses {
				answers[i] = n.ask(ctx, t.node, address, t.named)
				if answers[i].fleet != nil {
					break
				}
			}
		})
	}
	all.Wait()
	return topFleetResponse{&doc, err, answers}
}

// ask asks a node for itself. An answer of another node is none.
func (n *nodeClients) ask(ctx context.Context, node, address string, named bool) nodeAnswer {
	answer := nodeAnswer{node: node, address: address}
	clientFor := n.told
	if named {
		clientFor = n.named
	}
	c, err := clientFor(address)
	var doc status.Fleet
	if err == nil {
		c.limit = maxNodeResponse
		_, err = c.do(ctx, http.MethodGet, "/v1/fleet", nil, &doc)
	}
	switch {
	case err != nil:
		answer.err = err.Error()
	case node != "" && doc.Node != node:
		answer.err = address + " is node " + doc.Node
	default:
		answer.node, answer.fleet = doc.Node, &doc
	}
	return answer
}

// adminAddress returns the address of the API that flags and environment specify; "" = the default.
func adminAddress(flags *clientFlags) string {
	if flags.admin != "" {
		return flags.admin
	}
	return os.Getenv("WEIR_ADMIN")
}
