package topology

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"weir/checks"
	"weir/internal/printable"
)

// galeraFacts is the answer of a node of a Galera cluster. Source: MariaDB documentation, "Galera Cluster Status Variables".
type galeraFacts struct {
	excluded string // why the node cannot serve; "" = it can
	readOnly string // as of mysqlFacts
	view     galeraView
	index    int // of the node in its view, from 0
}

// galeraView identifies the group that a node believes to belong to. It is the same on all nodes of a component, after a
// change of membership once each has installed it.
type galeraView struct {
	cluster string // wsrep_cluster_state_uuid: one history of data
	change  uint64 // wsrep_cluster_conf_id: changes of membership so far
	size    int    // wsrep_cluster_size: nodes of the component
}

// String formats the view for reasons.
func (v galeraView) String() string {
	return fmt.Sprintf("%s, view %d of %d nodes", v.cluster, v.change, v.size)
}

// askGalera asks a node for its facts. A node that rejects queries answers SHOW statements, and no SELECT.
func askGalera(ctx context.Context, s *checks.MySQLSession) (*galeraFacts, error) {
	status, err := s.Variables(ctx, "STATUS", "wsrep_cluster_status", "wsrep_local_state", "wsrep_local_state_comment", "wsrep_ready",
		"wsrep_connected", "wsrep_local_index", "wsrep_cluster_state_uuid", "wsrep_cluster_conf_id", "wsrep_cluster_size")
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	settings, err := s.Variables(ctx, "VARIABLES", append([]string{
		"wsrep_on", "wsrep_reject_queries", "wsrep_desync", "pxc_maint_mode", "wsrep_sst_donor_rejects_queries",
	}, readOnlyVariables...)...)
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	return galeraFactsOf(status, settings)
}

// galeraSynced is the number of the state of a node that has everything. Source: Galera Cluster documentation, "Node State
// Changes".
const galeraSynced = "4"

// galeraFactsOf evaluates the status and system variables of a node.
func galeraFactsOf(status, settings map[string]string) (*galeraFacts, error) {
	f := &galeraFacts{excluded: galeraExclusion(status, settings)}
	var err error
	if f.readOnly, err = readOnlyOf(settings); err != nil {
		return nil, err
	}
	if f.excluded != "" {
		return f, nil
	}
	f.view.cluster = status["wsrep_cluster_state_uuid"]
	if !isUUID(strings.ToLower(f.view.cluster)) {
		return nil, unexpected(status, "wsrep_cluster_state_uuid", "a UUID")
	}
	for name, to := range map[string]*int{"wsrep_local_index": &f.index, "wsrep_cluster_size": &f.view.size} {
		if *to, err = strconv.Atoi(status[name]); err != nil || *to < 0 || *to > 1<<20 {
			return nil, unexpected(status, name, "a small number")
		}
	}
	if f.view.change, err = strconv.ParseUint(status["wsrep_cluster_conf_id"], 10, 64); err != nil {
		return nil, unexpected(status, "wsrep_cluster_conf_id", "a number")
	}
	if f.index >= f.view.size {
		return nil, unexpected(status, "wsrep_local_index", "a number below wsrep_cluster_size "+strconv.Itoa(f.view.size))
	}
	return f, nil
}

func unexpected(status map[string]string, name, want string) error {
	return fmt.Errorf("expected %s in %s, got %q", want, name, printable.Clip(status[name], printable.MaxQuote))
}

// galeraExclusion returns why a node cannot serve, or "".
//
// A donor (state 2) cannot, as in a galera check without allow_donor: it may lag behind, and its state transfer may block
// it. wsrep_desync puts a node into that state too, a moment after the variable is set.
func galeraExclusion(status, settings map[string]string) string {
	if v, found := settings["wsrep_on"]; !found || strings.EqualFold(v, "off") || v == "0" {
		return "it is not a node of a Galera cluster"
	}
	for _, w := range []struct {
		values      map[string]string
		name, want  string
		mustBeThere bool
	}{
		{status, "wsrep_cluster_status", "Primary", true},
		{status, "wsrep_connected", "ON", false},
		{status, "wsrep_local_state", galeraSynced, true},
		{status, "wsrep_ready", "ON", true},
		{settings, "wsrep_reject_queries", "NONE", false},
		{settings, "wsrep_desync", "OFF", false},
		{settings, "pxc_maint_mode", "DISABLED", false},
	} {
		value, found := w.values[w.name]
		if strings.EqualFold(value, w.want) || !found && !w.mustBeThere {
			continue
		}
		if w.name == "wsrep_local_state" {
			value += " (" + status["wsrep_local_state_comment"] + ")"
		}
		return w.name + " = " + printable.Clip(value, printable.MaxQuote)
	}
	return ""
}
