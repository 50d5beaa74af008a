package engine

import (
	"errors"
	"fmt"

	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/status"
)

// AddServer adds a server to a cluster, described as in the file, in JSON, and returns its name.
func (e *Engine) AddServer(change status.RuntimeChange, cluster string, text []byte) (name string, err error) {
	err = e.changeOverlay(change, cluster, func(running, _ *conf.Config, o overlay.Overlay) (next overlay.Overlay, err error) {
		next, name, err = o.AddServer(running, cluster, text)
		return next, err
	})
	return name, err
}

// RemoveServer removes a server from all levels of a cluster. Its sessions drain.
func (e *Engine) RemoveServer(change status.RuntimeChange, cluster, server string) error {
	return e.changeOverlay(change, cluster, func(running, _ *conf.Config, o overlay.Overlay) (overlay.Overlay, error) {
		if e.running.Load().isDiscovered(cluster, server) {
			return nil, &status.RequestError{Kind: status.Conflict, Field: "server",
				Text: fmt.Sprintf("server %s of cluster %s was found by its topology, which would add it again; set maint instead", server, cluster)}
		}
		return o.RemoveServer(running, cluster, server, e.running.Load().providesServer(cluster, server))
	})
}

// RestoreServer takes back the removal of a server.
func (e *Engine) RestoreServer(change status.RuntimeChange, cluster, server string) error {
	return e.changeOverlay(change, cluster, func(running, _ *conf.Config, o overlay.Overlay) (overlay.Overlay, error) {
		return o.RestoreServer(running, cluster, server)
	})
}

// PutCluster creates or replaces a cluster, described as in the file, in JSON, and reports whether it is new.
func (e *Engine) PutCluster(change status.RuntimeChange, name string, text []byte) (created bool, err error) {
	err = e.changeOverlay(change, name, func(running, file *conf.Config, o overlay.Overlay) (next overlay.Overlay, err error) {
		next, created, err = o.PutCluster(running, file, name, text)
		return next, err
	})
	return created, err
}

// RemoveCluster removes a cluster that no listener uses.
func (e *Engine) RemoveCluster(change status.RuntimeChange, name string) error {
	return e.changeOverlay(change, name, func(running, _ *conf.Config, o overlay.Overlay) (overlay.Overlay, error) {
		return o.RemoveCluster(running, name)
	})
}

// changeOverlay installs the configuration that follows from an edit of the overlay of a cluster. On error nothing changes. When it
// returns nil, the state file has been written, or the attempt has failed.
func (e *Engine) changeOverlay(change status.RuntimeChange, cluster string, edit func(running, file *conf.Config, o overlay.Overlay) (overlay.Overlay, error)) error {
	err := e.locked(func() error {
		if err := e.checkShared(change, cluster); err != nil {
			return err
		}
		running := e.running.Load()
		next, err := edit(running.cfg, running.file, running.overlay)
		if err != nil {
			return err
		}
		r := e.newReload(running.file, next, nil)
		if err := r.merge(); err != nil {
			return err
		}
		if err := r.install(); err != nil {
			return err
		}
		e.shareClusters(running.overlay, change)
		return nil
	})
	var r *status.RequestError
	switch {
	case errors.Is(err, ErrStopped):
		return stopping()
	case err != nil && !errors.As(err, &r):
		return &status.RequestError{Kind: status.Unprocessable, Text: err.Error()}
	case err == nil:
		e.stateFile.Sync()
	}
	return err
}

func stopping() error {
	return &status.RequestError{Kind: status.Unavailable, Text: ErrStopped.Error()}
}
