package conf

import (
	"fmt"
	"slices"
	"strings"
)

// Plan is what leads from one configuration to another, in an order that can be carried out: clusters are added before
// the listeners that use them, and removed after. It is pure data.
type Plan struct {
	Steps []PlanStep
}

// Action is what a step does to its object.
type Action string

// The actions of steps.
const (
	Add    Action = "add"
	Change Action = "change"
	Remove Action = "remove"
)

// Object is the kind of object that a step is about.
type Object string

// The kinds of objects.
const (
	ObjectRuntime  Object = "runtime"
	ObjectLog      Object = "log"
	ObjectAdmin    Object = "admin"
	ObjectFleet    Object = "fleet"
	ObjectListener Object = "listener"
	ObjectCluster  Object = "cluster"
	ObjectServer   Object = "server"
	ObjectCheck    Object = "check"
	ObjectEvent    Object = "event" // an event hook
	ObjectVIP      Object = "vip"
)

// PlanStep is one action of a plan. Servers and checks of a cluster that is added or removed have no steps of their
// own.
type PlanStep struct {
	Action  Action
	Object  Object
	Cluster string   // of a cluster, server or check
	Name    string   // of a listener (the wanted one's, unless removed), cluster, server or event hook; the id of a check; the address of a vip
	Details []Detail // at least one if Action is Change
	Note    string   // describes an object that is added or removed

	// Of a listener: the addresses of this step. Its other addresses have other steps.
	Protocol  string
	Addresses []Address

	// Refused is why this cannot be done while weir runs; "" = it can.
	Refused string
}

// Detail is one value that changes.
type Detail struct {
	Key   string // as in the file
	Level string // the level, if a server or cluster has several; else ""
	From  string
	To    string
}

// String formats the detail: weight 1 → 3.
func (d Detail) String() string {
	where := ""
	if d.Level != "" {
		where = " in level " + d.Level
	}
	return fmt.Sprintf("%s%s %s → %s", d.Key, where, truncate(d.From), truncate(d.To))
}

// truncate cuts a value to 100 bytes.
func truncate(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Becomes reports whether a step of action Change sets a key to a value.
func (s PlanStep) Becomes(key, value string) bool {
	return slices.ContainsFunc(s.Details, func(d Detail) bool { return d.Key == key && d.To == value })
}

// String formats the step as one line: change server redis/a: weight 1 → 3.
func (s PlanStep) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.Action, s.Object)
	switch s.Object {
	case ObjectServer, ObjectCheck:
		fmt.Fprintf(&b, " %s/%s", s.Cluster, s.Name)
	case ObjectListener, ObjectCluster, ObjectEvent, ObjectVIP:
		b.WriteString(" " + s.Name)
	}
	if len(s.Addresses) > 0 {
		fmt.Fprintf(&b, " (%s %s)", s.Protocol, showAddresses(s.Addresses))
	}
	var tail []string
	if s.Note != "" {
		tail = append(tail, s.Note)
	}
	for _, d := range s.Details {
		tail = append(tail, d.String())
	}
	if len(tail) > 0 {
		b.WriteString(": " + strings.Join(tail, ", "))
	}
	if s.Refused != "" {
		b.WriteString(" (refused: " + s.Refused + ")")
	}
	return b.String()
}

// String formats one step per line, or returns "no changes".
func (p Plan) String() string {
	if p.Empty() {
		return "no changes"
	}
	lines := make([]string, len(p.Steps))
	for i, s := range p.Steps {
		lines[i] = s.String()
	}
	return strings.Join(lines, "\n")
}

// Empty reports whether the plan has no steps.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// Refused returns the steps that cannot be taken while weir runs. If there are any, no step of the plan may be taken.
func (p Plan) Refused() []PlanStep {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s PlanStep) bool { return s.Refused == "" })
}

// showAddresses formats addresses, consecutive ports as ranges: 0.0.0.0:7000-7005.
func showAddresses(list []Address) string {
	var out []string
	for i := 0; i < len(list); {
		first := list[i]
		n := 1
		for first.Path == "" && i+n < len(list) && list[i+n].Addr.Addr() == first.Addr.Addr() && int(list[i+n].Port) == int(first.Port)+n {
			n++
		}
		text := first.String()
		if n > 1 {
			text += fmt.Sprintf("-%d", int(first.Port)+n-1)
		}
		out = append(out, text)
		i += n
	}
	if len(out) > 10 {
		out = append(out[:9], fmt.Sprintf("and %d more", len(out)-9))
	}
	return strings.Join(out, ", ")
}
