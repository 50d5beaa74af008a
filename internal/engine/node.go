package engine

// The state of the whole node: what an operator has set, and whether clients should come here.

import (
	"time"

	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/state"
	"weir/internal/status"
)

// DrainNode makes other hosts serve new clients: /readyz answers 503, and the vips are removed. Sessions continue, and clients
// that come nevertheless are served. text is empty or {"reason": "…"}. by names who asks. When it returns, the vips are removed,
// unless the kernel needs more than a second.
func (e *Engine) DrainNode(by string, text []byte) (status.Node, error) {
	return e.setNode(by, status.NodeDrain, text)
}

// ReadyNode ends DrainNode.
func (e *Engine) ReadyNode(by string, text []byte) (status.Node, error) {
	return e.setNode(by, status.NodeReady, text)
}

func (e *Engine) setNode(by, to string, text []byte) (status.Node, error) {
	reason, err := conf.ParseReason(text)
	if err != nil {
		return status.Node{}, overlay.Invalid(err)
	}
	if err := e.changeNode(by, to, reason); err != nil {
		return status.Node{}, err
	}
	e.shareNode(by, to, reason)
	e.stateFile.Sync()
	return e.nodeState(), nil
}

// changeNode changes the state of the node. When it returns, the vips have followed, unless the kernel needs more than a second.
func (e *Engine) changeNode(by, to, reason string) error {
	now := time.Now()
	n := &status.Node{State: to, Reason: reason, By: by, Since: &now}
	e.published.overrides.Lock()
	if e.published.handedOver.Load() {
		e.published.overrides.Unlock()
		return stopping()
	}
	before := e.nodeState()
	e.published.node.Store(n)
	e.published.overrides.Unlock()
	if before.State != to {
		e.log.Info("node", "state", to, "reason", reason, "by", by)
		kind := map[string]string{status.NodeDrain: "node_drained", status.NodeReady: "node_ready"}[to]
		e.published.eventLog.put(status.Event{Time: now, Event: kind, From: before.State, To: to, Reason: reason, By: by})
	}
	e.settleVIPs()
	e.stateFile.Changed()
	return nil
}

// nodeState returns the state of the node.
func (e *Engine) nodeState() status.Node {
	if n := e.published.node.Load(); n != nil {
		return *n
	}
	return status.Node{State: status.NodeReady}
}

// Drained reports whether an operator has drained the node.
func (e *Engine) Drained() bool { return e.nodeState().State == status.NodeDrain }

// savedNode returns the state of the node for a later process, or nil if it is the default.
func (e *Engine) savedNode() *state.Node {
	n := e.nodeState()
	if !e.Drained() {
		return nil
	}
	return &state.Node{State: n.State, Reason: n.Reason, By: n.By, At: n.Since.UTC()}
}

// restoreNode restores the state of an earlier process.
func (e *Engine) restoreNode(saved *state.Node) {
	if saved != nil {
		e.published.node.Store(&status.Node{State: saved.State, Reason: saved.Reason, By: saved.By, Since: &saved.At})
	}
}

// Ready reports whether clients are served: from the first configuration on, until weir stops.
func (e *Engine) Ready() bool { return e.running.Load().cfg != nil && !e.published.stopping.Load() }

// CheckReady returns nil if new clients should come to this node, else an error of type *status.RequestError with the reason. With a
// cluster, it must have an eligible server.
func (e *Engine) CheckReady(cluster string) error {
	running := e.running.Load()
	if cluster != "" && running.clusters[cluster] == nil && running.cfg != nil {
		return overlay.NoCluster(cluster)
	}
	why := e.nodeBlocked(!e.LoopsRespond(stallTimeout))
	if why == "" && cluster != "" {
		why = running.clusterBlocked(cluster, e.plane.Now())
	}
	if why != "" {
		return &status.RequestError{Kind: status.Unavailable, Text: why}
	}
	return nil
}

// stallTimeout is how long an event loop may take to respond. Event loops run for some milliseconds at a time.
const stallTimeout = time.Second

// nodeBlocked returns why new clients should not come to this node, or "".
func (e *Engine) nodeBlocked(stalled bool) string {
	switch node := e.nodeState(); {
	case !e.Ready():
		return ErrStopped.Error()
	case node.Why() != "":
		return node.Why()
	case stalled:
		return "an event loop does not respond"
	}
	return ""
}

// clusterBlocked returns why a cluster cannot serve, or "".
func (s *runningState) clusterBlocked(name string, now time.Duration) string {
	b := s.clusters[name]
	switch {
	case b == nil:
		return "no cluster " + name
	case !b.HasEligible(now):
		return "cluster " + name + " has no eligible server"
	}
	return ""
}
