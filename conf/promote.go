package conf

import (
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// Keys that let the kernel forward the packets of busy sessions.

// PromoteAfter is when the kernel takes over a session's packets: after Requests or Bytes, and not before Age.
type PromoteAfter struct {
	Requests int
	Bytes    int64
	Age      time.Duration
}

func promoteKeys() []key[PromoteAfter] {
	return []key[PromoteAfter]{
		scalar("requests", integerType(1, maxInt), "32", func(p *PromoteAfter) *int { return &p.Requests },
			"Datagrams of the client."),
		scalar("bytes", positiveSizeType(), "4M", func(p *PromoteAfter) *int64 { return &p.Bytes },
			"Bytes in both directions: an integer, or a text such as `\"4M\"` with K, M or G."),
		scalar("age", durationOrZero(), "100ms", func(p *PromoteAfter) *time.Duration { return &p.Age },
			"Age before which no session is promoted."),
	}
}

// promoteAfterKey is the key promote_after of a listener.
func promoteAfterKey() key[listenerDraft] {
	k := table("promote_after", "When a session is promoted, as `{ requests = 32, bytes = \"4M\", age = \"100ms\" }`: after the first of `requests` and `bytes`, and not before `age`.",
		func(d *decoder, n *tree.Node, l *listenerDraft) { decodeTable(d, n, d.schema.promote, &l.PromoteAfter) })
	k.setDefault = func(l *listenerDraft) { setDefaults(promoteKeys(), &l.PromoteAfter) }
	k.defaultText = "`{ requests = 32, bytes = \"4M\", age = \"100ms\" }`"
	k.show = func(l *listenerDraft) string {
		var parts []string
		for _, k := range promoteKeys() {
			parts = append(parts, k.name+" "+k.show(&l.PromoteAfter))
		}
		return strings.Join(parts, ", ")
	}
	return k
}

// promoteInterfacesKey is the key promote_interfaces of [runtime].
func promoteInterfacesKey() key[Runtime] {
	return key[Runtime]{
		name: "promote_interfaces", typeText: "list of network interfaces", defaultText: "[]",
		doc: "Network interfaces, such as `[\"lo\", \"eth0\"]`, at which the kernel may forward the packets of promoted sessions. Empty = none are promoted.",
		decode: func(d *decoder, n *tree.Node, r *Runtime) {
			for _, e := range d.list(n, "network interfaces such as [\"lo\"]") {
				name, ok := read(d, e, interfaceType())
				switch {
				case !ok:
				case slices.Contains(r.PromoteInterfaces, name):
					d.errorAt(e, "%s is listed twice", name)
				case len(r.PromoteInterfaces) == maxPromoteInterfaces:
					d.errorAt(e, "too many interfaces; the maximum is %d", maxPromoteInterfaces)
					return
				default:
					r.PromoteInterfaces = append(r.PromoteInterfaces, name)
				}
			}
		},
		show: func(r *Runtime) string {
			if len(r.PromoteInterfaces) == 0 {
				return "none"
			}
			return strings.Join(r.PromoteInterfaces, ", ")
		},
	}
}

// validatePromotion warns of keys that have no effect.
func (d *decoder) validatePromotion(all *draft) {
	used := false
	for i := range all.listeners {
		l := &all.listeners[i]
		at := l.node.Get("promote")
		if l.Promote != "auto" || at == nil {
			if after := l.node.Get("promote_after"); after != nil {
				d.warn(after, "promote_after has no effect without promote = \"auto\"")
			}
			continue
		}
		used = true
		switch {
		case len(all.runtime.PromoteInterfaces) == 0 && !d.incomplete:
			d.warn(at, "promote has no effect without runtime.promote_interfaces")
		case l.Responses > 0:
			d.warn(at, "promote has no effect with responses")
		case l.Requests > 0:
			d.warn(at, "promote has no effect with requests")
		case l.AcceptProxy:
			d.warn(at, "promote has no effect with accept_proxy")
		}
	}
	if at := all.setOnce["runtime.promote_interfaces"]; at != nil && len(all.runtime.PromoteInterfaces) > 0 && !used && !d.incomplete {
		d.warn(at, "promote_interfaces has no effect: no listener has promote = \"auto\"")
	}
}

// maxPromoteInterfaces limits the programs that weir attaches.
const maxPromoteInterfaces = 64
