package conf

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// CheckTypes returns the legal types of checks.
func CheckTypes() []string {
	return []string{"tcp", "http", "redis", "mysql", "pgsql", "udp", "exec", "agent", "agent_http"}
}

func checkKeys() []key[checkDraft] {
	typeWords := map[string]string{
		"connect": "tcp", "port": "tcp", "https": "http", "valkey": "redis", "mariadb": "mysql", "postgres": "pgsql", "postgresql": "pgsql", "pg": "pgsql",
		"script": "exec", "external": "exec", "program": "exec", "agent-check": "agent",
	}
	return slices.Concat([]key[checkDraft]{
		scalar("type", oneOf(CheckTypes(), typeWords), "", func(c *checkDraft) *string { return &c.Type },
			"The kind of check.").required().withAliases("kind"),
		scalar("id", orEmpty(nameType()), "", func(c *checkDraft) *string { return &c.ID },
			"Unique in the cluster.").withDefaultText("the type").withAliases("name"),
		scalar("interval", positiveDuration(), "2s", func(c *checkDraft) *time.Duration { return &c.Interval },
			"Time from the start of one check to the start of the next.").withAliases("inter", "period", "every"),
		scalar("fast_interval", positiveDuration(), "", func(c *checkDraft) *time.Duration { return &c.FastInterval },
			"The interval while a verdict is changing.").withDefaultText("`interval`").withAliases("fastinter"),
		scalar("down_interval", positiveDuration(), "", func(c *checkDraft) *time.Duration { return &c.DownInterval },
			"The interval while the server is down.").withDefaultText("`interval`").withAliases("downinter"),
		scalar("timeout", positiveDuration(), "", func(c *checkDraft) *time.Duration { return &c.Timeout },
			"Timeout of one check; not longer than `interval`.").withDefaultText("`\"1s\"`, or `interval` if that is shorter"),
		scalar("rise", integerType(1, maxInt), "2", func(c *checkDraft) *int { return &c.Rise },
			"Consecutive successes that bring a server up. Not for agents.").withAliases("passes"),
		scalar("fall", integerType(1, maxInt), "3", func(c *checkDraft) *int { return &c.Fall },
			"Consecutive failures that take a server down. Not for agents.").withAliases("fails"),
		onlyIn("tcp http redis mysql pgsql udp exec", scalar("initial", oneOf([]string{"up", "down"}, nil), "up", func(c *checkDraft) *string { return &c.Initial },
			"whether a new server gets sessions before its first result: `up`, or `down` until the check has passed once.")),
		scalar("port", integerType(0, 65535), "0", func(c *checkDraft) *int { return &c.Port },
			"Port to check; 0 = the server's port. Required for agents and for servers with `port = \"same\"`."),
		scalar("address", orEmpty(hostType()), "", func(c *checkDraft) *string { return &c.Address },
			"Host to check instead of the server's: an IP address or a host name, without a port.").withDefaultText("the server's own").withAliases("addr", "host"),
		{
			name: "servers", typeText: "`all`, `up`, `down` or list of names", defaultText: "all",
			doc:    "Servers to check: all, those that are currently up or down, or those named.",
			decode: decodeCheckServers,
			show: func(c *checkDraft) string {
				if c.Servers == "list" {
					return strings.Join(c.ServerNames, ", ")
				}
				return c.Servers
			},
		},
		onlyIn("tcp udp agent", stepKey("send", "data to send first; text, or bytes as `\"0x…\"`.").hideValue()),
		onlyIn("tcp udp http", stepKey("expect", "text that the reply must contain (http: the first 64 kB of its body); text, or bytes as `\"0x…\"`.")),
		onlyIn("tcp udp", stepKey("expect_regex", "regular expression (RE2) that the reply must match.")),
		onlyIn("tcp udp", key[checkDraft]{
			name: "steps", typeText: "list of tables", aliases: []string{"step"},
			doc: "several exchanges in order, each with `send`, `expect` or `expect_regex`, instead of the keys above.",
			decode: func(d *decoder, n *tree.Node, c *checkDraft) {
				c.Steps = decodeSteps(d, n)
			},
			show:   func(c *checkDraft) string { return showSteps(c.Steps) },
			secret: true,
		}),
	}, httpKeys(), optionKeys())
}

// stepKey is a key of a step that may also be in the check itself, if the check has one step. Of these keys, an agent
// check takes only send, and an http check only expect.
func stepKey(name, doc string) key[checkDraft] {
	return key[checkDraft]{
		name: name, typeText: "string", doc: doc,
		show: func(c *checkDraft) string {
			switch {
			case name == "send" && c.Send != nil:
				return fmt.Sprintf("%q", c.Send)
			case name == "expect" && c.Expect != nil:
				return fmt.Sprintf("%q", c.Expect)
			}
			return "none"
		},
		decode: func(d *decoder, n *tree.Node, c *checkDraft) {
			for _, k := range d.schema.step {
				if k.name == name {
					k.decode(d, n, &c.singleStep)
				}
			}
			c.singleStepKeys = append(c.singleStepKeys, n)
		},
	}
}

func stepKeys() []key[Step] {
	return []key[Step]{
		scalar("send", bytesType(), "", func(s *Step) *[]byte { return &s.Send }, "Data to send; text, or bytes as `\"0x…\"`."),
		scalar("expect", bytesType(), "", func(s *Step) *[]byte { return &s.Expect }, "Text that the reply must contain; text, or bytes as `\"0x…\"`."),
		scalar("expect_regex", regexType(), "", func(s *Step) *string { return &s.Regex }, "Regular expression (RE2) that the reply must match."),
	}
}

// checkDraft is a check with the positions of its parts.
type checkDraft struct {
	Check
	node           *tree.Node
	singleStep     Step         // the step in the check itself
	singleStepKeys []*tree.Node // the keys of singleStep
}

func decodeCheck(d *decoder, n *tree.Node, c *clusterDraft) {
	k := checkDraft{node: n}
	k.Servers = "all"
	decodeTable(d, n, d.schema.check, &k)
	if id := n.Get("id"); k.ID == "" && (id == nil || id.Value == "") && !n.Incomplete {
		k.ID = k.Type
	}
	if steps := n.Get("steps"); steps != nil && !k.singleStep.empty() {
		d.errorAtKey(k.singleStepKeys[0], "%s and steps exclude each other; move it into a step", k.singleStepKeys[0].Name)
	} else if len(k.singleStepKeys) > 0 {
		finishStep(d, n, &k.singleStep)
		switch k.Type {
		case "agent":
			k.Send = k.singleStep.Send
		case "http":
			k.Expect = k.singleStep.Expect
		default:
			if !k.singleStep.empty() {
				k.Steps = []Step{k.singleStep}
			}
		}
	}
	if n.Get("fast_interval") == nil {
		k.FastInterval = k.Interval
	}
	if n.Get("down_interval") == nil {
		k.DownInterval = k.Interval
	}
	switch at := n.Get("timeout"); {
	case at == nil:
		k.Timeout = min(time.Second, k.Interval)
	case k.Interval > 0 && k.Timeout > k.Interval:
		d.errorAt(at, "timeout %s is longer than interval %s", showDuration(k.Timeout), showDuration(k.Interval))
	}
	finishOptions(d, n, &k)
	c.checks = append(c.checks, k)
}

func decodeCheckServers(d *decoder, n *tree.Node, c *checkDraft) {
	if n.Kind != tree.List {
		if v, ok := read(d, n, oneOf([]string{"all", "up", "down"}, nil)); ok {
			c.Servers = v
		}
		return
	}
	c.Servers = "list"
	if len(n.Items) == 0 {
		d.errorAt(n, "want \"all\", \"up\", \"down\" or at least one server's name")
	}
	for _, e := range n.Items {
		if s, ok := e.Value.(string); ok {
			c.ServerNames = append(c.ServerNames, s)
		} else {
			d.errorAt(e, "want a server's name, got %s", e.Describe())
		}
	}
}

func decodeSteps(d *decoder, n *tree.Node) []Step {
	if n.Kind == tree.List && len(n.Items) == 0 {
		d.errorAt(n, "want at least one step")
	}
	var steps []Step
	for _, e := range d.list(n, "tables with send and expect") {
		if e.Kind != tree.Table {
			d.errorAt(e, "want a table with send and expect, got %s", e.Describe())
			continue
		}
		var s Step
		decodeTable(d, e, d.schema.step, &s)
		if s.empty() && !slices.ContainsFunc(e.Keys, func(k *tree.Node) bool { return k.Value != "" }) {
			d.errorAt(e, "empty step; want send, expect or expect_regex")
		}
		finishStep(d, e, &s)
		steps = append(steps, s)
	}
	return steps
}

func (s *Step) empty() bool { return len(s.Send) == 0 && len(s.Expect) == 0 && s.Regex == "" }

// finishStep validates the keys of one step together. n is its table.
func finishStep(d *decoder, n *tree.Node, s *Step) {
	if s.Expect != nil && s.Regex != "" {
		d.errorAt(n.Get("expect_regex"), "expect and expect_regex exclude each other")
	}
}

func hostType() valueType[string] {
	k := textType("host", nil)
	k.parse = func(n *tree.Node) (string, error) {
		s, ok := n.Value.(string)
		if !ok {
			return "", fmt.Errorf("want an IP address or a host name, got %s", n.Describe())
		}
		return parseHost(s)
	}
	return k
}

// maxBytes limits what a check sends or expects.
const maxBytes = 1 << 16

// bytesType is text, or exact bytes written as 0x and pairs of hexadecimal digits.
func bytesType() valueType[[]byte] {
	return valueType[[]byte]{
		text: "string",
		parse: func(n *tree.Node) ([]byte, error) {
			s, ok := n.Value.(string)
			if !ok {
				return nil, fmt.Errorf("want a string, got %s", n.Describe())
			}
			if len(s) > maxBytes {
				return nil, fmt.Errorf("at most %d bytes, got %d", maxBytes, len(s))
			}
			digits, isHex := strings.CutPrefix(s, "0x")
			switch {
			case s == "":
				return nil, nil
			case !isHex:
				return []byte(s), nil
			}
			b, err := hex.DecodeString(digits)
			if err != nil || len(b) == 0 {
				return nil, fmt.Errorf("want pairs of hexadecimal digits after 0x, got %s", n.Describe())
			}
			return b, nil
		},
		show: func(b []byte) string { return fmt.Sprintf("%q", b) },
	}
}

func showSteps(steps []Step) string {
	if len(steps) == 0 {
		return "none"
	}
	var out []string
	for _, s := range steps {
		out = append(out, fmt.Sprintf("send %q expect %q regex %q", s.Send, s.Expect, s.Regex))
	}
	return strings.Join(out, "; ")
}
