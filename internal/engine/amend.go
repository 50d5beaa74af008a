package engine

// Changes to servers and clusters at run time.

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"weir/conf"
	"weir/internal/status"
)

// AddServer adds a server to a cluster, described as in the file, in JSON, and returns its name.
func (e *Engine) AddServer(cluster string, text []byte) (name string, err error) {
	err = e.amend(func(running *conf.Config, m membership) error {
		c := clusterOf(running, cluster)
		if c == nil {
			return noCluster(cluster)
		}
		server, level, err := conf.ParseServer(text, c)
		if err != nil {
			return invalid(err)
		}
		name = server.Name
		if in(&c.Levels[level], name) {
			return &status.Refusal{Why: status.Conflict, Field: "name",
				Text: fmt.Sprintf("level %s of cluster %s has a server %s already", levelName(c, level), cluster, name)}
		}
		m.of(cluster).added = append(m.of(cluster).added, addedServer{server, levelName(c, level), slices.Clone(text)})
		return nil
	})
	return name, err
}

// RemoveServer takes a server out of all levels of a cluster. Its sessions drain.
func (e *Engine) RemoveServer(cluster, server string) error {
	return e.amend(func(running *conf.Config, m membership) error {
		c := clusterOf(running, cluster)
		if c == nil {
			return noCluster(cluster)
		}
		if serverOf(c, server) == nil {
			return noServer(cluster, server)
		}
		l := m.of(cluster)
		l.added = slices.DeleteFunc(l.added, func(a addedServer) bool { return a.server.Name == server })
		l.removed = append(l.removed, server) // forgotten again if nobody else names the server
		return nil
	})
}

// PutCluster makes or replaces a cluster, described as in the file, in JSON, and reports whether it is new.
func (e *Engine) PutCluster(name string, text []byte) (created bool, err error) {
	err = e.amend(func(running *conf.Config, m membership) error {
		old := clusterOf(running, name)
		c, err := conf.ParseCluster(name, text, old)
		if err != nil {
			return invalid(err)
		}
		created = old == nil
		layer := &clusterLayer{whole: &c, text: slices.Clone(text), created: clusterOf(e.file, name) == nil}
		if before := m[name]; before != nil && before.whole != nil {
			layer.text = relevelled(before.text, text)
		}
		m[name] = layer
		return nil
	})
	return created, err
}

// relevelled is what a cluster comes to in the operator's words, if new ones of levels alone leave the rest to the old.
func relevelled(old, text []byte) []byte {
	var was, is map[string]json.RawMessage
	if !levelsAlone(text) || json.Unmarshal(old, &was) != nil || json.Unmarshal(text, &is) != nil {
		return slices.Clone(text)
	}
	was["levels"] = is["levels"]
	merged, err := json.Marshal(was)
	if err != nil {
		return slices.Clone(text)
	}
	return merged
}

// RemoveCluster takes a cluster away that no listener uses.
func (e *Engine) RemoveCluster(name string) error {
	return e.amend(func(running *conf.Config, m membership) error {
		if clusterOf(running, name) == nil {
			return noCluster(name)
		}
		if user := listenerOf(running, name); user != "" {
			return &status.Refusal{Why: status.Conflict, Text: fmt.Sprintf("listener %s uses cluster %s", user, name)}
		}
		if l := m[name]; l != nil && l.created {
			delete(m, name)
		} else {
			m[name] = &clusterLayer{gone: true}
		}
		return nil
	})
}

// amend changes the membership and goes over to what follows from it. A change that is refused changes nothing; one that
// is not is in the state file when amend returns.
func (e *Engine) amend(change func(running *conf.Config, m membership) error) error {
	if err := e.amendNow(change); err != nil {
		return err
	}
	e.settled()
	return nil
}

func (e *Engine) amendNow(change func(running *conf.Config, m membership) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return stopping()
	}
	m := e.members.clone()
	if err := change(e.running.Load().cfg, m); err != nil {
		return err
	}
	err := e.goOver(e.file, m)
	var r *status.Refusal
	if err != nil && !errors.As(err, &r) {
		err = &status.Refusal{Why: status.Refused, Text: err.Error()}
	}
	return err
}

// goOver goes over to a file's configuration with changes laid over it. mu is held.
func (e *Engine) goOver(file *conf.Config, m membership) error {
	wanted, kept, err := m.over(file)
	if err != nil {
		return err
	}
	known, err := e.resolveFor(wanted)
	if err != nil {
		return err
	}
	e.members, kept = kept, e.members // what is made from now on says who put it there
	before := e.file
	e.file = file
	if err := e.change(wanted, known); err != nil {
		e.members, e.file = kept, before
		return err
	}
	if file != before {
		for _, what := range m.without(e.members) {
			e.log.Info("no longer changed at run time: the file says otherwise", "what", what)
		}
	}
	select {
	case e.renamed <- struct{}{}:
	default:
	}
	return nil
}

func noCluster(name string) error {
	return &status.Refusal{Why: status.NotFound, Field: "cluster", Text: "no cluster " + name}
}

func noServer(cluster, name string) error {
	return &status.Refusal{Why: status.NotFound, Field: "server", Text: fmt.Sprintf("cluster %s has no server %s", cluster, name)}
}

func stopping() error { return &status.Refusal{Why: status.Unavailable, Text: ErrStopped.Error()} }

// invalid is a refusal for the mistakes of a request: the first one's place, and the words of all.
func invalid(err error) error {
	var ms conf.Errors
	if !errors.As(err, &ms) {
		return &status.Refusal{Text: err.Error()}
	}
	var words []string
	for i, m := range ms {
		text := m.Msg
		if i > 0 && m.Path != "" {
			text = m.Path + ": " + text
		}
		words = append(words, text)
	}
	return &status.Refusal{Field: ms[0].Path, Text: strings.Join(words, "; ")}
}
