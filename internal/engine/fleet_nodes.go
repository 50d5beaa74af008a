package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weir/conf"
	"weir/internal/fleet"
	"weir/internal/overlay"
	"weir/internal/printable"
	"weir/internal/status"
)

// nodeOverride is the value of the override of a node.
type nodeOverride struct {
	State string `json:"state"` // drain
}

// SetFleetNode drains a node of the fleet, or ends that: to is status.NodeDrain or status.NodeReady. text is empty or
// {"reason": "…"}. by names who asks. It returns what became of it in the fleet; see Shared.
func (e *Engine) SetFleetNode(by, node, to string, text []byte) (shared string, err error) {
	reason, err := conf.ParseReason(text)
	if err != nil {
		return "", overlay.Invalid(err)
	}
	m := e.sharing()
	if m == nil {
		return "", noFleet()
	}
	if nodes := m.Status().Nodes; nodes[node] == nil {
		names := slices.Sorted(maps.Keys(nodes))
		return "", &status.RequestError{Kind: status.NotFound, Field: "node", Text: printable.Clip(fmt.Sprintf("no live node %s in the fleet; it has %s", node, strings.Join(names, ", ")), printable.MaxLine)}
	}
	key := fleet.NodeOverrideKey(node)
	if _, err := m.Say(key, nodeSaid(by, to, reason)); err != nil {
		return "", &status.RequestError{Text: err.Error()}
	}
	if node == e.fleetNode() {
		e.applySharedNode(m, key)
	}
	e.stateFile.Changed()
	e.stateFile.Sync()
	return e.waitShared(m, key), nil
}

func nodeSaid(by, to, reason string) fleet.Override {
	said := fleet.Override{By: short(by), Reason: short(reason), At: time.Now().UTC()}
	if to == status.NodeDrain {
		said.Value, _ = json.Marshal(nodeOverride{to}) // it has no value that JSON cannot have
	}
	return said
}

// shareNode tells the fleet that an operator has changed the state of this node here, if the fleet has said something about it.
func (e *Engine) shareNode(by, to, reason string) {
	m := e.sharing()
	if m == nil {
		return
	}
	key := fleet.NodeOverrideKey(e.fleetNode())
	if said, _ := m.Current(key); said == nil || (said.Value != nil) == (to == status.NodeDrain) {
		return
	}
	if _, err := m.Say(key, nodeSaid(by, to, reason)); err != nil {
		e.log.Warn("fleet: state of the node cannot be shared", "error", err)
	}
}

// applySharedNode applies what the fleet says about this node. If it no longer says anything, a drain has ended.
func (e *Engine) applySharedNode(m *fleet.Member, key string) {
	said, _ := m.Current(key)
	if node, _ := fleet.ParseNodeOverrideKey(key); node != e.fleetNode() {
		return
	}
	to := status.NodeReady
	if said == nil {
		said = &fleet.Override{Node: e.fleetNode(), By: "reset of the fleet"}
	}
	if said.Value != nil {
		var v nodeOverride
		if err := json.Unmarshal(said.Value, &v); err != nil || v.State != status.NodeDrain {
			e.log.Warn("fleet: override of the node cannot be used")
			return
		}
		to = v.State
	}
	if e.nodeState().State == to {
		return
	}
	by := said.By
	if said.Node != e.fleetNode() {
		by += " on " + said.Node
	}
	if err := e.changeNode(by, to, said.Reason); err != nil {
		e.log.Warn("fleet: override of the node not applied", "error", err)
	}
}
