package conf

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// The [[event]] tables: event hooks.

// EventKinds returns the legal kinds of events.
func EventKinds() []string {
	return []string{
		"server_up", "server_down", "server_state", "level_change", "cluster_empty", "cluster_back", "reload", "reload_failed", "reload_stale", "upgrade", "upgrade_failed",
		"primary_change", "failover", "session_refused", "rebalance_begin", "rebalance_end", "rollout_done", "rollout_failed",
		"override_conflict", "fleet_restored", "fleet_connected", "fleet_unreachable", "limit_lost", "node_gone", "vip_added", "vip_removed", "node_drained", "node_ready",
	}
}

func hookKeys() []key[hookDraft] {
	return []key[hookDraft]{
		scalar("name", orEmpty(nameType()), "", func(h *hookDraft) *string { return &h.Name },
			"Unique name of the hook in the log, in `weir status` and in the metrics.").withDefaultText("the program's or the host's").withAliases("id"),
		{
			name: "on", typeText: "list", defaultText: "[]", aliases: []string{"events", "event", "kinds", "when"},
			doc: "Events to receive: `" + strings.Join(EventKinds(), "`, `") + "`. Empty = all.",
			decode: func(d *decoder, n *tree.Node, h *hookDraft) {
				h.On = decodeEventKinds(d, n)
			},
			show: func(h *hookDraft) string {
				if len(h.On) == 0 {
					return "all"
				}
				return strings.Join(h.On, ", ")
			},
		},
		{
			secret: true, name: "exec", typeText: "list of strings", aliases: []string{"command", "program", "script"},
			doc: "Program and arguments, run once per event without a shell. It gets the event as JSON on standard input and as `WEIR_*` " +
				"variables. After `timeout`, it and its children are killed.",
			decode: func(d *decoder, n *tree.Node, h *hookDraft) {
				h.Exec = decodeCommand(d, n, "/usr/local/bin/notify")
			},
			show: func(h *hookDraft) string {
				if h.Exec == nil {
					return "none"
				}
				return fmt.Sprintf("%q", h.Exec)
			},
		},
		scalar("url", orEmpty(hookURLType()), "", func(h *hookDraft) *string { return &h.URL },
			"Or an `http` or `https` URL to which each event is sent as JSON (POST). A status of 2xx is a success. A failed request "+
				"is tried up to four times, at growing intervals, unless the failure is final.").withTypeText("URL").withAliases("webhook", "post", "http").hideValue(),
		scalar("timeout", durationType(10*time.Millisecond, time.Hour, false), "5s", func(h *hookDraft) *time.Duration { return &h.Timeout },
			"Timeout of the program or of one request."),
	}
}

// hookDraft is a hook with its position.
type hookDraft struct {
	Hook
	node *tree.Node
}

func decodeHook(d *decoder, n *tree.Node, into *draft) {
	h := hookDraft{node: n}
	decodeTable(d, n, d.schema.event, &h)
	// A key with an invalid value has been reported already; it counts as given.
	given := func(name string) *tree.Node {
		if at := n.Get(name); at != nil && at.Value != "" {
			return at
		}
		return nil
	}
	switch program, address := given("exec"), given("url"); {
	case program != nil && address != nil:
		d.errorAtKey(address, "exec and url exclude each other; make two [[event]] tables")
	case program == nil && address == nil && n.Get("exec") == nil:
		d.errorMissing(n, "exec", "event hook requires exec or url")
	}
	into.hooks = append(into.hooks, h)
}

func decodeEventKinds(d *decoder, n *tree.Node) []string {
	var kinds []string
	legal := oneOf(EventKinds(), map[string]string{
		"down": "server_down", "up": "server_up", "state": "server_state", "level": "level_change", "primary": "primary_change", "promotion": "primary_change", "switchover": "failover",
		"empty": "cluster_empty", "refused": "session_refused",
	})
	for _, e := range d.list(n, "events such as [\"server_down\", \"server_up\"]") {
		k, ok := read(d, e, legal)
		switch {
		case !ok:
		case slices.Contains(kinds, k):
			d.errorAt(e, "%s is listed twice", k)
		default:
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// hookURLType is a URL that events are sent to. It may contain a password, so no message shows it.
func hookURLType() valueType[string] {
	const want = "URL such as \"https://alerts.example.com/weir\""
	k := bare(textType(want, func(s string) error {
		u, err := url.Parse(s)
		if err != nil || hasBlank(s) || u.Opaque != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return errors.New("want a " + want)
		}
		return nil
	}))
	k.secret = true
	return k
}

// nameHooks rejects duplicate names, and names the other hooks after their program or the host of their URL.
func (d *decoder) nameHooks(all *draft) {
	named := make(map[string]*tree.Node)
	for _, h := range all.hooks {
		if h.Name == "" {
			continue
		}
		n := h.node.Get("name")
		if old := named[h.Name]; old != nil {
			d.errorAt(n, "duplicate name %s of an event hook (%s)", tree.QuoteKey(h.Name), lines(old, n))
			continue
		}
		named[h.Name] = n
	}
	for i := range all.hooks {
		h := &all.hooks[i]
		if h.Name != "" {
			continue
		}
		base := "url"
		if len(h.Exec) > 0 {
			base = filepath.Base(h.Exec[0])
		} else if u, err := url.Parse(h.URL); err == nil && u.Hostname() != "" {
			base = u.Hostname()
		}
		base = strings.Map(func(r rune) rune {
			if r > 0x7f || !isNameByte(byte(r)) {
				return '-'
			}
			return r
		}, base)
		base = base[:min(len(base), maxName-4)]
		h.Name = base
		for n := 2; named[h.Name] != nil; n++ {
			h.Name = fmt.Sprintf("%s-%d", base, n)
		}
		named[h.Name] = h.node
	}
}
