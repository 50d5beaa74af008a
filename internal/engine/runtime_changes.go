package engine

import (
	"errors"

	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/status"
)

// AddServer adds a server to a cluster, described as in the file, in JSON, and returns its name.
func (e *Engine) AddServer(cluster string, text []byte) (name string, err error) {
	err = e.changeOverlay(func(running, _ *conf.Config, o overlay.Overlay) (next overlay.Overlay, err error) {
		next, name, err = o.AddServer(running, cluster, text)
		return next, err
	})
	return name, err
}

// RemoveServer removes a server from all levels of a cluster. Its sessions drain.
func (e *Engine) RemoveServer(cluster, server string) error {
	return e.changeOverlay(func(running, _ *conf.Config, o overlay.Overlay) (overlay.Overlay, error) {
		return o.RemoveServer(running, cluster, server)
	})
}

// PutCluster creates or replaces a cluster, described as in the file, in JSON, and reports whether it is new.
func (e *Engine) PutCluster(name string, text []byte) (created bool, err error) {
	err = e.changeOverlay(func(running, file *conf.Config, o overlay.Overlay) (next overlay.Overlay, err error) {
		next, created, err = o.PutCluster(running, file, name, text)
		return next, err
	})
	return created, err
}

// RemoveCluster removes a cluster that no listener uses.
func (e *Engine) RemoveCluster(name string) error {
	return e.changeOverlay(func(running, _ *conf.Config, o overlay.Overlay) (overlay.Overlay, error) {
		return o.RemoveCluster(running, name)
	})
}

// changeOverlay installs the configuration that follows from an edit of the overlay. On error nothing changes. When it
// returns nil, the state file has been written, or the attempt has failed.
func (e *Engine) changeOverlay(edit func(running, file *conf.Config, o overlay.Overlay) (overlay.Overlay, error)) error {
	err := e.locked(func() error {
		next, err := edit(e.running.Load().cfg, e.file, e.overlay)
		if err != nil {
			return err
		}
		return e.install(e.file, next)
	})
	var r *status.RequestError
	switch {
	case errors.Is(err, ErrStopped):
		return stopping()
	case err != nil && !errors.As(err, &r):
		return &status.RequestError{Kind: status.Unprocessable, Text: err.Error()}
	case err == nil:
		e.settled()
	}
	return err
}

// locked calls do while mu is held, unless the engine has stopped.
func (e *Engine) locked(do func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return ErrStopped
	}
	return do()
}

// install goes over to a file's configuration with changes laid over it. mu is held.
func (e *Engine) install(file *conf.Config, o overlay.Overlay) error {
	wanted, kept, err := o.Apply(file)
	if err != nil {
		return err
	}
	known, err := e.resolveNew(wanted)
	if err != nil {
		return err
	}
	e.overlay, kept = kept, e.overlay // what is made from now on says who put it there
	before := e.file
	e.file = file
	if err := e.change(wanted, known); err != nil {
		e.overlay, e.file = kept, before
		return err
	}
	if file != before {
		for _, what := range o.Dropped(e.overlay) {
			e.log.Info("no longer changed at run time: the file says otherwise", "what", what)
		}
	}
	select {
	case e.namesChanged <- struct{}{}:
	default:
	}
	return nil
}

func stopping() error {
	return &status.RequestError{Kind: status.Unavailable, Text: ErrStopped.Error()}
}
