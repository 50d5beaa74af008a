package cli

// The view of the nodes of a fleet in weir top.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weir/internal/status"
)

// topFleet is what is known of the fleet.
type topFleet struct {
	asked   bool         // addresses of nodes were given
	doc     status.Fleet // of the weir that the screen is of
	known   bool         // the API has supplied doc
	err     string       // of the latest request for doc
	at      time.Time    // of the latest answers
	answers []nodeAnswer
}

// nodeAnswer is what a node has answered for itself.
type nodeAnswer struct {
	node    string // its name; "" if address was given and does not answer
	address string
	fleet   *status.Fleet // nil = no answer
	err     string
}

// hasFleet reports whether there are nodes to show.
func (s *screen) hasFleet() bool { return s.fleet.asked || s.doc != nil && s.doc.Fleet != nil }

// showFleet replaces what is known of the fleet. Without a document, the last one stays.
func (s *screen) showFleet(doc *status.Fleet, err error, answers []nodeAnswer) {
	s.fleet.at, s.fleet.answers, s.fleet.err = s.clock(), answers, ""
	if err != nil {
		s.fleet.err = err.Error()
		return
	}
	s.fleet.doc, s.fleet.known = *doc, true
}

// fleetRow is a node in the view.
type fleetRow struct {
	status.FleetNode
	revision string
	source   string // where the figures come from
}

// problems of the node, with their number.
func (r *fleetRow) problemText() string {
	if r.ProblemCount == 0 {
		return "none"
	}
	return fmt.Sprint(r.ProblemCount)
}

// fleetRows returns the nodes by name. What a node answers for itself precedes what it has told the store.
func (s *screen) fleetRows() []fleetRow {
	nodes := map[string]fleetRow{}
	revisions := map[string]string{}
	learn := func(f *status.Fleet) {
		if f.SharedConfig == nil {
			return
		}
		for _, n := range f.SharedConfig.Nodes {
			if n.Revision > 0 { // else its file
				revisions[n.Node] = fmt.Sprintf("revision %d", n.Revision)
			}
		}
	}
	learn(&s.fleet.doc)
	for _, n := range s.fleet.doc.Members {
		row := fleetRow{FleetNode: n, source: "store, " + age(max(0, s.fleet.at.Sub(n.At).Seconds())) + " ago"}
		if n.Self {
			row.source = "this node"
		}
		nodes[n.Name] = row
	}
	for _, a := range s.fleet.answers {
		if a.fleet == nil {
			continue
		}
		learn(a.fleet)
		for _, n := range a.fleet.Members {
			if n.Self {
				nodes[n.Name] = fleetRow{FleetNode: n, source: "node"}
			}
		}
	}
	rows := make([]fleetRow, 0, len(nodes))
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		row := nodes[name]
		row.revision = cmp.Or(revisions[name], row.Config)
		row.State = cmp.Or(row.State, status.NodeReady)
		rows = append(rows, row)
	}
	return rows
}

// fleetLines returns the nodes, their problems, and where they differ.
func (s *screen) fleetLines(width int) []string {
	f := &s.fleet
	var lines []string
	if f.err != "" {
		lines = append(lines, wrapText("WARNING  "+f.err, "  ", width)...)
	}
	if !f.known && len(f.answers) == 0 {
		if f.err == "" {
			lines = append(lines, "waiting for a response")
		}
		return lines
	}
	rows := s.fleetRows()
	if f.known {
		link := "connected"
		if !f.doc.Connected {
			link = "not connected for " + age(max(0, f.at.Sub(f.doc.Since).Seconds())) + ": " + f.doc.Error
		}
		drained := 0
		for _, r := range rows {
			if r.State == status.NodeDrain {
				drained++
			}
		}
		text := fmt.Sprintf("%d nodes in %s, %d drained, %d servers with different states; %s is %s", len(rows), f.doc.Prefix, drained,
			len(f.doc.Disagreements), f.doc.Node, link)
		if f.doc.Pending > 0 {
			text += fmt.Sprintf("; %d overrides pending", f.doc.Pending)
		}
		lines = append(lines, wrapText(text, "  ", width)...)
	}
	lines = append(lines, "")
	if width < 76 {
		lines = append(lines, narrowNodes(rows, width)...)
	} else {
		t := columns("NODE", "STATE", "VERSION", "CONFIG", ">UP", ">SESSIONS", ">PROBLEMS", "FROM")
		for _, r := range rows {
			version, _, _ := strings.Cut(r.Version, " ")
			t.row(r.Name, r.State, version, r.revision, age(r.UptimeSeconds), r.Sessions, r.problemText(), r.source)
		}
		var b strings.Builder
		t.printWithin(&b, "", width)
		lines = append(lines, strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")...)
	}
	if notes := s.fleetNotes(rows, width); len(notes) > 0 {
		lines = append(append(lines, ""), notes...)
	}
	return append(append(lines, ""), s.disagreementLines(width)...)
}

// narrowNodes returns each node in two lines.
func narrowNodes(rows []fleetRow, width int) []string {
	var lines []string
	for _, r := range rows {
		version, _, _ := strings.Cut(r.Version, " ")
		problems := r.problemText() + " problems"
		if r.ProblemCount == 0 {
			problems = "no problems"
		}
		lines = append(lines, joinParts([]part{{r.Name, 0}, {r.State, 1}, {fmt.Sprintf("%d sessions", r.Sessions), 2}, {problems, 3}}, ", ", width))
		lines = append(lines, "  "+joinParts([]part{{version, 2}, {"config " + r.revision, 0}, {"up " + age(r.UptimeSeconds), 1}, {r.source, 3}}, ", ", max(1, width-2)))
	}
	return lines
}

// fleetNotes returns what is unusual: versions and configurations that differ, drained nodes, problems of nodes, nodes without an answer.
func (s *screen) fleetNotes(rows []fleetRow, width int) []string {
	var lines []string
	note := func(severity, text string) {
		lines = append(lines, wrapText(strings.ToUpper(severity)+"  "+text, "  ", width)...)
	}
	differ := func(what string, of func(fleetRow) string) {
		by := map[string][]string{}
		for _, r := range rows {
			by[of(r)] = append(by[of(r)], r.Name)
		}
		if len(by) > 1 {
			note(status.Warning, what+" differ: "+groups(by))
		}
	}
	differ("configurations", func(r fleetRow) string { return cmp.Or(r.revision, "none") })
	differ("versions", func(r fleetRow) string { version, _, _ := strings.Cut(r.Version, " "); return version })
	for _, r := range rows {
		if r.State == status.NodeDrain {
			text := r.Name + ": drained"
			if r.StateReason != "" {
				text += ": " + r.StateReason
			}
			note(status.Note, text)
		}
		for i, p := range r.Problems {
			note(status.Warning, r.Name+": "+p)
			if i == 2 && r.ProblemCount > 3 {
				note(status.Warning, fmt.Sprintf("%s: %d more problems", r.Name, r.ProblemCount-3))
				break
			}
		}
	}
	for _, a := range s.fleet.answers {
		switch name := cmp.Or(a.node, a.address); {
		case a.fleet == nil:
			note(status.Note, fmt.Sprintf("%s does not answer for itself: %s", name, a.err))
		case !a.fleet.Connected:
			note(status.Warning, fmt.Sprintf("%s is not connected to the store: %s", name, a.fleet.Error))
		}
	}
	return lines
}

// groups returns the names that have each value, the most frequent value first.
func groups(by map[string][]string) string {
	values := slices.Sorted(maps.Keys(by))
	slices.SortStableFunc(values, func(a, b string) int { return len(by[b]) - len(by[a]) })
	var texts []string
	for _, v := range values {
		names := by[v]
		slices.Sort(names)
		text := strings.Join(names[:min(len(names), 5)], ", ")
		if len(names) > 5 {
			text += fmt.Sprintf(" and %d more", len(names)-5)
		}
		texts = append(texts, v+" on "+text)
	}
	return strings.Join(texts, "; ")
}

// disagreementLines returns the servers about whose state nodes disagree.
func (s *screen) disagreementLines(width int) []string {
	type server struct{ cluster, name string }
	list := map[server]map[string]string{}
	add := func(f *status.Fleet) {
		for _, d := range f.Disagreements {
			key := server{d.Cluster, d.Server}
			if list[key] == nil {
				list[key] = map[string]string{}
			}
			maps.Copy(list[key], d.States)
		}
	}
	if s.fleet.known {
		add(&s.fleet.doc)
	} else {
		for _, a := range s.fleet.answers {
			if a.fleet != nil {
				add(a.fleet)
			}
		}
	}
	if len(list) == 0 {
		return wrapText("the nodes agree about the state of every server", "  ", width)
	}
	lines := []string{fmt.Sprintf("%d servers have different states on nodes:", len(list))}
	keys := slices.SortedFunc(maps.Keys(list), func(a, b server) int { return cmp.Or(cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.name, b.name)) })
	for _, key := range keys {
		by := map[string][]string{}
		for node, state := range list[key] {
			by[state] = append(by[state], node)
		}
		lines = append(lines, wrapText(key.cluster+"/"+key.name+": "+groups(by), "    ", width)...)
	}
	return lines
}
