package engine

import (
	"encoding/json"
	"errors"
	"time"

	"weir/internal/fleet"
	"weir/internal/overlay"
	"weir/internal/status"
)

// checkShared returns an error if a change is for the fleet, and an operator has said that those of the cluster are for this
// node only.
func (e *Engine) checkShared(change status.RuntimeChange, cluster string) error {
	if m := e.sharing(); m == nil || change.Local || !m.IsKept(fleet.ClusterKey(cluster)) {
		return nil
	}
	return &status.RequestError{Kind: status.Conflict, Text: "the runtime changes of cluster " + cluster +
		" are for this node only: make this one local too, or let the cluster follow the fleet again with weir fleet follow " + cluster}
}

// FollowFleet ends the runtime changes of a cluster that are for this node only, and applies those of the fleet. by names who
// asks.
func (e *Engine) FollowFleet(by, cluster string) error {
	m := e.sharing()
	if m == nil {
		return noFleet()
	}
	key := fleet.ClusterKey(cluster)
	if _, local := m.Current(key); !local {
		return &status.RequestError{Kind: status.Conflict, Text: "cluster " + cluster + " has no runtime changes for this node only"}
	}
	err := e.locked(func() error {
		err := e.installShared(cluster, m.SetLocal(key, false))
		if err != nil {
			m.Keep(key)
		}
		return err
	})
	if err != nil {
		return &status.RequestError{Kind: status.Unprocessable, Text: err.Error()}
	}
	e.log.Info("fleet: cluster follows the fleet", "cluster", cluster, "by", by)
	e.stateFile.Changed()
	e.stateFile.Sync()
	return nil
}

// shareClusters tells the fleet about the clusters whose runtime changes differ from before. Changes with a value for this host
// only, such as a password or the name of a file, stay local. mu is held.
func (e *Engine) shareClusters(before overlay.Overlay, change status.RuntimeChange) {
	m := e.sharing()
	if m == nil {
		return
	}
	after := e.running.Load().overlay
	for _, name := range before.Changed(after) {
		key, text := fleet.ClusterKey(name), after.Shared(name)
		if change.Local {
			m.Keep(key)
			continue
		}
		err := unshareable(text)
		if err == nil {
			m.SetLocal(key, false)
			_, err = m.Say(key, fleet.Override{By: short(change.By), At: time.Now().UTC(), Value: text})
		}
		if err != nil {
			m.SetLocal(key, true)
			e.log.Warn("fleet: runtime changes of the cluster stay on this node", "cluster", name, "error", err)
		}
	}
}

// unshareable returns an error if changes have a value for this host only.
func unshareable(text json.RawMessage) error {
	if key := overlay.Unshareable(text); key != "" {
		return errors.New(key + " is for one host only")
	}
	return nil
}

// applySharedClusters applies what the fleet says about clusters.
func (e *Engine) applySharedClusters(keys map[string]bool) {
	m := e.sharing()
	if m == nil || e.published.handedOver.Load() {
		return
	}
	for key := range keys {
		name, _, _ := fleet.ParseOverrideKey(key)
		err := e.locked(func() error { return e.applySharedCluster(m, key, name) })
		if errors.Is(err, ErrStopped) {
			return
		}
		e.fleet.mu.Lock()
		isNew := e.fleet.problems.Note(key, err)
		e.fleet.mu.Unlock()
		if isNew {
			e.log.Warn("fleet: runtime changes of a cluster cannot be used", "cluster", name, "error", err)
		}
	}
}

// applySharedCluster applies what the fleet says about one cluster. If it no longer says anything, the cluster is as in the file. mu is held.
func (e *Engine) applySharedCluster(m *fleet.Member, key, name string) error {
	said, local := m.Current(key)
	if local {
		return nil
	}
	return e.installShared(name, said)
}

// installShared applies runtime changes of one cluster, as the fleet has them; nil = none. mu is held.
func (e *Engine) installShared(name string, said *fleet.Override) error {
	if said == nil {
		said = &fleet.Override{}
	}
	running := e.running.Load()
	next, err := running.overlay.WithShared(name, said.Value, running.file)
	if err != nil || len(running.overlay.Changed(next)) == 0 {
		return err
	}
	r := e.newReload(running.file, next, nil)
	if err := r.merge(); err != nil || len(running.overlay.Changed(r.next.overlay)) == 0 {
		return err
	}
	if err := r.install(); err != nil {
		return err
	}
	e.log.Info("fleet: runtime changes applied", "cluster", name, "node", said.Node)
	return nil
}
