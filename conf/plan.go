package conf

import (
	"fmt"
	"slices"
	"strings"
)

// Plan is what leads from one configuration to another, in an order that can be carried out: clusters appear before the
// listeners that use them, and disappear after. It is pure data.
type Plan struct {
	Steps []PlanStep
}

// Action says what a step does to its object.
type Action string

// The kinds of steps.
const (
	Add    Action = "add"
	Change Action = "change"
	Remove Action = "remove"
)

// Object says what a step is about.
type Object string

// The objects of steps.
const (
	ObjectRuntime  Object = "runtime"
	ObjectLog      Object = "log"
	ObjectAdmin    Object = "admin"
	ObjectListener Object = "listener"
	ObjectCluster  Object = "cluster"
	ObjectServer   Object = "server"
	ObjectCheck    Object = "check"
	ObjectEvent    Object = "event" // a hook
)

// PlanStep is one action of a plan. The servers and checks of a cluster that is added or removed as a whole have no steps of
// their own.
type PlanStep struct {
	Action  Action
	Object  Object
	Cluster string   // of a cluster, server or check
	Name    string   // of a listener (the wanted one's, unless it is removed), cluster, server or event hook; the id of a check
	Details []Detail // of a change: at least one
	Note    string   // of an addition or a removal: what it is

	// Of a listener: the addresses that the step is about. A listener with other addresses has other steps for them.
	Protocol  string
	Addresses []Address

	// Refused is the reason why this cannot be done while weir runs; "" = it can.
	Refused string
}

// Detail is one value that changes.
type Detail struct {
	Key   string // as in the file
	Level string // the level that it concerns, where a server or cluster has several; else ""
	From  string
	To    string
}

// String is the detail for an operator: weight 1 → 3.
func (d Detail) String() string {
	where := ""
	if d.Level != "" {
		where = " in level " + d.Level
	}
	return fmt.Sprintf("%s%s %s → %s", d.Key, where, truncate(d.From), truncate(d.To))
}

// truncate cuts a value to a length that fits a line.
func truncate(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Becomes tells whether a step of kind Change gives a key a value.
func (s PlanStep) Becomes(key, value string) bool {
	return slices.ContainsFunc(s.Details, func(d Detail) bool { return d.Key == key && d.To == value })
}

// String is the step in one line: change server redis/a: weight 1 → 3.
func (s PlanStep) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.Action, s.Object)
	switch s.Object {
	case ObjectServer, ObjectCheck:
		fmt.Fprintf(&b, " %s/%s", s.Cluster, s.Name)
	case ObjectListener, ObjectCluster, ObjectEvent:
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

// String has one line per step, or says that there is none.
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

// Empty tells that there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// Refused lists the steps that cannot be taken while weir runs. With any of them, no step of the plan may be taken.
func (p Plan) Refused() []PlanStep {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s PlanStep) bool { return s.Refused == "" })
}

// showAddresses prints addresses with consecutive ports as ranges: 0.0.0.0:7000-7005.
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
