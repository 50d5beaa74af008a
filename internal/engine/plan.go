package engine

import (
	"errors"

	"weir/conf"
	"weir/internal/status"
)

// Plan tells what a reload would do if the file had a text; nil = with what is on disk. Nothing is changed, nor opened.
func (e *Engine) Plan(text []byte) (status.Plan, error) {
	e.mu.Lock()
	file, members, running := e.file, e.members, e.now.Load()
	e.mu.Unlock()
	var wanted *conf.Config
	var err error
	if text == nil {
		wanted, err = conf.Load(file.File)
	} else {
		wanted, err = conf.Parse(file.File, text)
	}
	if err == nil {
		wanted, _, err = members.over(wanted)
	}
	var r *status.Refusal
	switch {
	case errors.As(err, &r):
		return status.Plan{}, err
	case err != nil:
		return status.Plan{}, Unusable(err)
	}
	return PlanOf(conf.Diff(running.cfg, wanted), e.wouldCut(running)), nil
}

// PlanOf is a plan for those who look on; cuts counts the sessions that a step leaves without a listener or a server.
func PlanOf(p conf.Plan, cuts func(conf.PlanStep) int) status.Plan {
	plan := status.Plan{Steps: []status.PlanStep{}}
	for _, s := range p.Steps {
		step := status.PlanStep{Kind: string(s.Kind), Object: string(s.Object), Cluster: s.Cluster, Name: s.Name,
			Text: s.String(), Refused: s.Refused, Cuts: cuts(s)}
		plan.Refused = plan.Refused || s.Refused != ""
		plan.Cuts += step.Cuts
		plan.Steps = append(plan.Steps, step)
	}
	return plan
}

// Unusable is a refusal for a configuration with mistakes: the first one's place, and all in their own words.
func Unusable(err error) error {
	r := &status.Refusal{Why: status.Refused, Text: err.Error()}
	var ms conf.Mistakes
	if errors.As(err, &ms) {
		r.Field = ms[0].Path
	}
	return r
}

// wouldCut counts, of the sessions of now, those that removals leave without a place.
func (e *Engine) wouldCut(running *state) func(conf.PlanStep) int {
	perListener, perServer := map[string]int{}, map[[2]string]int{}
	if open := e.seen.open.Load(); open != nil {
		for id, ln := range *open {
			perListener[id] = max(0, ln.Counters().Live)
		}
	}
	for name, b := range running.clusters {
		for _, l := range b.Snapshot(e.plane.Now()).Levels {
			for _, s := range l.Servers {
				perServer[[2]string{name, s.Name}] = s.Sessions
			}
		}
	}
	return func(s conf.PlanStep) int {
		n := 0
		switch {
		case s.Kind != conf.Remove:
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
