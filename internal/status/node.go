package status

import (
	"fmt"
	"time"
)

// States of a Node.
const (
	NodeReady = "ready"
	NodeDrain = "drain" // other hosts serve new clients: /readyz answers 503, and the vips are removed
)

// Node is what an operator has set of the whole process.
type Node struct {
	State  string     `json:"state"` // ready or drain
	Reason string     `json:"reason,omitempty"`
	By     string     `json:"by,omitempty"`    // who asked
	Since  *time.Time `json:"since,omitempty"` // nil = never changed
}

// Why returns why the node serves no new clients, or "" if it is ready.
func (n Node) Why() string {
	switch {
	case n.State != NodeDrain:
		return ""
	case n.Reason == "":
		return "node drained"
	}
	return "node drained: " + n.Reason
}

// States of a VIP.
const (
	VIPUp     = "up"     // the interface has the address
	VIPHold   = "hold"   // all conditions are true, for less than hold
	VIPDown   = "down"   // a condition is false
	VIPFailed = "failed" // all conditions are true, and the address cannot be added
)

// VIP is an address that this host has while weir can serve at it.
type VIP struct {
	Address   string    `json:"address"` // with the length of its network
	Interface string    `json:"interface"`
	Clusters  []string  `json:"clusters"` // that must each have an eligible server
	State     string    `json:"state"`    // up, hold, down or failed
	Reason    string    `json:"reason,omitempty"`
	Since     time.Time `json:"since"`             // of the state
	Problem   string    `json:"problem,omitempty"` // what keeps the address from being as it must be
}

// vipProblems returns the problems of the node and of its addresses.
func (d *Document) vipProblems() (list []Problem) {
	if d.Node.State == NodeDrain {
		text := "node drained"
		if d.Node.By != "" {
			text += " by " + d.Node.By
		}
		list = append(list, Problem{Severity: Note, Text: text, Reason: d.Node.Reason, Since: d.Node.Since})
	}
	for i := range d.VIPs {
		v := &d.VIPs[i]
		switch {
		case v.Problem != "":
			list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("vip %s on %s: %s", v.Address, v.Interface, v.State), Reason: v.Problem, Since: &v.Since})
		case v.State == VIPDown && !d.Stopping && d.Node.State != NodeDrain:
			list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("vip %s removed", v.Address), Reason: v.Reason, Since: &v.Since})
		}
	}
	return list
}
