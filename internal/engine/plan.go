package engine

import (
	"cmp"
	"errors"
	"path/filepath"

	"weir/conf"
	"weir/internal/status"
)

// Plan returns the plan of a reload with another text of the file; nil = the file on disk. A shared configuration stays in
// force. Includes in the text are
// relative to path; "" = the path of the file. included are the files that the text includes; nil = files of this host,
// which must be below the directory of the running configuration's file. Plan changes and opens nothing.
func (e *Engine) Plan(path string, text []byte, included []conf.SourceFile) (status.Plan, error) {
	running := e.running.Load()
	var wanted *conf.Config
	var err error
	switch {
	case text == nil:
		wanted, err = conf.LoadWith(running.file.File, running.file.Shared)
	default:
		wanted, err = conf.ParsePosted(conf.Posted{
			Path: cmp.Or(path, running.file.File), Text: text, Included: included, Below: filepath.Dir(running.file.File),
			Shared: running.file.Shared,
		})
	}
	return e.planTo(running, wanted, err)
}

// PlanFile returns the plan of a reload with a configuration that was loaded.
func (e *Engine) PlanFile(file *conf.Config) (status.Plan, error) {
	return e.planTo(e.running.Load(), file, nil)
}

// planTo returns the plan from the running configuration to that of a file, unless err is set.
func (e *Engine) planTo(running *runningState, wanted *conf.Config, err error) (status.Plan, error) {
	if err == nil {
		wanted, _, err = running.overlay.Apply(wanted)
	}
	if err == nil {
		wanted = running.discovered.apply(wanted)
		wanted = running.withProvided(wanted)
	}
	var r *status.RequestError
	switch {
	case errors.As(err, &r):
		return status.Plan{}, err
	case err != nil:
		return status.Plan{}, InvalidConfig(err)
	}
	return PlanOf(conf.Diff(running.cfg, wanted), e.wouldCut(running, wanted)), nil
}

// PlanOf converts a plan to its document. cuts returns how many sessions a step cuts at the end of drain_timeout.
func PlanOf(p conf.Plan, cuts func(conf.PlanStep) int) status.Plan {
	plan := status.Plan{Steps: []status.PlanStep{}}
	for _, s := range p.Steps {
		step := status.PlanStep{Kind: string(s.Action), Object: string(s.Object), Cluster: s.Cluster, Name: s.Name,
			Text: s.String(), Refused: s.Refused, Cuts: cuts(s)}
		plan.Refused = plan.Refused || s.Refused != ""
		plan.Cuts += step.Cuts
		plan.Steps = append(plan.Steps, step)
	}
	return plan
}

// InvalidConfig returns the error of a request whose configuration has errors: the key of the first one and all texts.
func InvalidConfig(err error) error {
	r := &status.RequestError{Kind: status.Unprocessable, Text: err.Error()}
	if errs, ok := errors.AsType[conf.Errors](err); ok {
		r.Field = errs[0].Path
	}
	return r
}

// wouldCut counts the current sessions of removed listeners and servers, and those of servers that enter maintenance
// where on_down = "close".
func (e *Engine) wouldCut(running *runningState, wanted *conf.Config) func(conf.PlanStep) int {
	perListener, perServer := map[string]int{}, map[[2]string]int{}
	closed := map[[2]string]bool{} // servers without an override in clusters with on_down = "close"
	if open := e.published.listeners.Load(); open != nil {
		for id, ln := range *open {
			perListener[id] = max(0, ln.Counters().Live)
		}
	}
	for name, b := range running.clusters {
		c := wanted.Cluster(name)
		closes := c != nil && c.OnDown == "close"
		for _, l := range b.Snapshot(e.plane.Now()).Levels {
			for _, s := range l.Servers {
				perServer[[2]string{name, s.Name}] = s.Sessions
				if closes && s.Layers.Override.State == nil {
					closed[[2]string{name, s.Name}] = true
				}
			}
		}
	}
	return func(s conf.PlanStep) int {
		n := 0
		switch {
		case s.Object == conf.ObjectServer && s.Becomes("state", "maint") && closed[[2]string{s.Cluster, s.Name}]:
			n = perServer[[2]string{s.Cluster, s.Name}]
		case s.Action != conf.Remove:
		case s.Object == conf.ObjectListener:
			for _, at := range s.Addresses {
				n += perListener[listenerID(s.Protocol, at)]
			}
		case s.Object == conf.ObjectServer:
			n = perServer[[2]string{s.Cluster, s.Name}]
		case s.Object == conf.ObjectCluster:
			for key, sessions := range perServer {
				if key[0] == s.Name {
					n += sessions
				}
			}
		}
		return n
	}
}
