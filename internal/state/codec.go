package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

const (
	formatName    = "weir state"
	formatVersion = 2 // written; older versions can be read

	// MaxSize is the most bytes of an encoded Snapshot, enough for more than a hundred thousand servers.
	MaxSize = 64 << 20
)

// header identifies a text as a Snapshot.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
}

// Encode encodes a Snapshot as indented JSON.
func Encode(s Snapshot) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(struct {
		header
		Snapshot
	}{header{formatName, formatVersion}, s})
	if err == nil && b.Len() > MaxSize {
		err = fmt.Errorf("the state is larger than %d MB", MaxSize>>20)
	}
	return b.Bytes(), err
}

// Decode decodes and validates a Snapshot: words are legal, numbers in range, and names unique. It does not parse the
// clusters and servers that were given to the API. The error has the place, as LINE:COL or as the path of a value. text may
// be damaged or come from another program.
func Decode(text []byte) (Snapshot, error) {
	var head header
	switch err := json.Unmarshal(text, &head); {
	case len(text) > MaxSize:
		return Snapshot{}, fmt.Errorf("larger than %d MB", MaxSize>>20)
	case err != nil:
		return Snapshot{}, withPosition(text, err)
	case head.Format != formatName:
		return Snapshot{}, errors.New("format: not a state file of weir")
	case head.Version < 1 || head.Version > formatVersion:
		return Snapshot{}, fmt.Errorf("version: want at most %d, got %d", formatVersion, head.Version)
	}
	var s Snapshot
	err := json.Unmarshal(text, &s)
	if err == nil && head.Version == 1 {
		err = readVersion1(text, &s)
	}
	if err != nil {
		return Snapshot{}, withPosition(text, err)
	}
	return s, s.check()
}

// readVersion1 reads the keys that version 2 has renamed.
func readVersion1(text []byte, s *Snapshot) error {
	var old struct {
		Clusters []struct {
			Put     json.RawMessage `json:"put"`
			Spared  string          `json:"spared"`
			Servers []struct {
				Agent struct {
					Says string `json:"says"`
				} `json:"agent"`
			} `json:"servers"`
		} `json:"clusters"`
	}
	if err := json.Unmarshal(text, &old); err != nil {
		return err
	}
	for i := range old.Clusters {
		c, before := &s.Clusters[i], &old.Clusters[i]
		c.Replacement, c.ProtectedServer = before.Put, before.Spared
		for j := range before.Servers {
			if agent := c.Servers[j].Agent; agent != nil {
				agent.Reply = before.Servers[j].Agent.Says
			}
		}
	}
	return nil
}

// withPosition prefixes an error of package json with LINE:COL.
func withPosition(text []byte, err error) error {
	offset := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset - 1 // Offset counts the invalid byte
		if int(syntax.Offset) >= len(text) && bytes.Contains([]byte(err.Error()), []byte("unexpected end")) {
			offset, err = int64(len(text)), errors.New("the text ends early")
		}
	case errors.As(err, &kind):
		offset = kind.Offset - 1
		err = fmt.Errorf("%s: want a value of type %s, got %s", kind.Field, kind.Type, kind.Value)
	}
	if offset < 0 {
		return err
	}
	before := text[:min(int(offset), len(text))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Errorf("%d:%d: %w", line, len(before)-bytes.LastIndexByte(before, '\n'), err)
}

// Limits far beyond what a configuration can lead to.
const (
	maxText    = 4096
	maxCount   = 1 << 31
	maxMembers = 1024
	maxShared  = 1 << 20 // bytes
)

func (m *Snapshot) check() error {
	if n := m.Node; n != nil {
		if !slices.Contains([]string{"ready", "drain"}, n.State) {
			return fmt.Errorf("node.state: want ready or drain, got %.20q", n.State)
		}
		if len(n.Reason) > maxText || len(n.By) > maxText {
			return errors.New("node: too long")
		}
	}
	if s := m.Shared; s != nil && (s.Revision < 1 || s.Revision >= maxCount || len(s.Text) > maxShared || len(s.Prefix) > maxText) {
		return fmt.Errorf("shared: want a revision and a text of at most %d bytes", maxShared)
	}
	seen := map[string]bool{}
	for i := range m.Clusters {
		c := &m.Clusters[i]
		at := fmt.Sprintf("clusters[%d]", i)
		if err := checkName(seen, c.Name); err != nil {
			return fmt.Errorf("%s.name: %w", at, err)
		}
		if err := c.Check(); err != nil {
			return fmt.Errorf("%s.%w", at, err)
		}
	}
	return nil
}

// Check returns an error if a value is not legal.
func (c *Cluster) Check() error {
	if c.Created && len(c.Replacement) == 0 {
		return errors.New("created: without replacement")
	}
	for i, a := range c.Added {
		if a.Level == "" || len(a.Server) == 0 {
			return fmt.Errorf("added[%d]: want a level and a server", i)
		}
	}
	for i, name := range c.Removed {
		if err := checkName(nil, name); err != nil {
			return fmt.Errorf("removed[%d]: %w", i, err)
		}
	}
	if c.Topology != nil {
		if err := c.Topology.check(); err != nil {
			return fmt.Errorf("topology.%w", err)
		}
	}
	seen := map[string]bool{}
	for i := range c.Servers {
		s := &c.Servers[i]
		at := fmt.Sprintf("servers[%d]", i)
		if err := checkName(seen, s.Name); err != nil {
			return fmt.Errorf("%s.name: %w", at, err)
		}
		if err := s.check(); err != nil {
			return fmt.Errorf("%s.%w", at, err)
		}
	}
	return nil
}

func (t *Topology) check() error {
	if len(t.Members) > maxMembers {
		return fmt.Errorf("members: want at most %d, got %d", maxMembers, len(t.Members))
	}
	for i, m := range t.Members {
		if err := checkName(nil, m.Address); err != nil {
			return fmt.Errorf("members[%d].address: %w", i, err)
		}
		if !slices.Contains([]string{"primary", "replica", "other", "unknown"}, m.Role) || len(m.Name) > maxText {
			return fmt.Errorf("members[%d]: want a role, got %.20q", i, m.Role)
		}
	}
	for name, text := range map[string]string{"of": t.Of, "primary": t.Primary, "gtid": t.GTID, "last_name": t.LastName, "last_address": t.LastAddress} {
		if len(text) > maxText {
			return fmt.Errorf("%s: too long", name)
		}
	}
	return nil
}

func (s *Server) check() error {
	if o := s.Override; o != nil {
		if err := o.Check(); err != nil {
			return fmt.Errorf("override.%w", err)
		}
	}
	if a := s.Agent; a != nil && (a.Check == "" || len(a.Reply) > maxText) {
		return fmt.Errorf("agent: want a check and a reply of at most %d bytes", maxText)
	}
	seen := map[string]bool{}
	for i, k := range s.Checks {
		if err := checkName(seen, k.ID); err != nil {
			return fmt.Errorf("checks[%d].id: %w", i, err)
		}
		if !slices.Contains([]string{"", "standby", "full"}, k.State) {
			return fmt.Errorf("checks[%d].state: want standby or full, got %.20q", i, k.State)
		}
		if k.Streak < 0 || k.Streak >= maxCount {
			return fmt.Errorf("checks[%d].streak: %d is out of range", i, k.Streak)
		}
		if len(k.Reason) > maxText {
			return fmt.Errorf("checks[%d].reason: too long", i)
		}
	}
	if p := s.Passive; p != nil {
		switch {
		case !slices.Contains([]string{"up", "failing", "probation"}, p.State):
			return fmt.Errorf("passive.state: want up, failing or probation, got %.20q", p.State)
		case p.Failures < 0 || p.Failures >= maxCount:
			return fmt.Errorf("passive.failures: %d is out of range", p.Failures)
		case p.Failures > 0 && p.First == nil:
			return errors.New("passive.first: missing")
		case p.State == "failing" && p.Until == nil:
			return errors.New("passive.until: missing")
		case len(p.Reason) > maxText:
			return errors.New("passive.reason: too long")
		}
	}
	return nil
}

// Check returns an error if a value is not legal.
func (o *Override) Check() error {
	if !slices.Contains([]string{"", "ready", "drain", "maint"}, o.State) {
		return fmt.Errorf("state: want ready, drain or maint, got %.20q", o.State)
	}
	for name, n := range map[string]*int{"weight": o.Weight, "max_sessions": o.MaxSessions} {
		if n != nil && (*n < 0 || *n >= maxCount) {
			return fmt.Errorf("%s: %d is out of range", name, *n)
		}
	}
	if o.Deadline != nil && o.State != "drain" {
		return errors.New("deadline: want the state drain")
	}
	if len(o.Reason) > maxText {
		return errors.New("reason: too long")
	}
	if len(o.By) > maxText {
		return errors.New("by: too long")
	}
	return nil
}

// checkName returns an error if a name is empty, too long or in seen, to which it is added.
func checkName(seen map[string]bool, name string) error {
	switch {
	case name == "":
		return errors.New("empty name")
	case len(name) > maxText:
		return errors.New("too long")
	case seen[name]:
		return fmt.Errorf("duplicate name %.64q", name)
	case seen != nil:
		seen[name] = true
	}
	return nil
}
