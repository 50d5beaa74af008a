// Package route keeps the ways back that replies need when servers are dialled from their clients' own addresses: for
// each server a policy rule that leads what it sends to a table in which every address is this host's.
//
//	ip rule add from SERVER sport PORT ipproto tcp lookup TABLE priority PRIORITY protocol 119
//	ip route add local default dev lo table TABLE protocol 119
//
// No packet filter is involved: rules match addresses and ports by themselves. What is for this host anyway is found in
// the local table, before any of these rules.
//
// Several weirs may run in one network, each with a slot of its own: a table and a priority that nobody else changes. A
// slot is held by an abstract unix socket, which ends with its process however that ends, and which is visible exactly
// where the rules are: in the network namespace. Rules in a slot that nobody holds were left behind by a weir that was
// killed, and have no session left to serve: the next one to start takes them away.
package route

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
)

// ReplyRoute is what a way back is for: what a server sends. It is a map's key.
type ReplyRoute struct {
	Server netip.AddrPort
	UDP    bool // else TCP
}

func (r ReplyRoute) String() string {
	if r.UDP {
		return r.Server.String() + " (udp)"
	}
	return r.Server.String()
}

const (
	// base is the table and the rules' priority of the first slot: after the table local (0), before main (32766).
	base  = 11900
	slots = 16
	// protocol marks rules and routes as weir's (rtm_protocol, rtnetlink(7)); values above 4 are free for any program.
	protocol = 119

	typeLocal   = 2  // RTN_LOCAL
	protocolTCP = 6  // IPPROTO_TCP
	protocolUDP = 17 // IPPROTO_UDP
)

// Routes has the ways back of one process. Its methods are called by one goroutine at a time.
type Routes struct {
	slot   int
	holder io.Closer // of the slot; nil = none is held
	have   map[ReplyRoute]bool
	idle   map[ReplyRoute]bool // not wanted, and not in use when last looked at
}

// Open makes a Keeper that has nothing yet, and takes away what weirs that were killed have left behind, if it may.
func Open() *Routes {
	k := &Routes{have: map[ReplyRoute]bool{}, idle: map[ReplyRoute]bool{}}
	left := map[int]bool{}
	for _, family := range families {
		rules, _ := listRules(family)
		for _, r := range rules {
			if slot := r.Priority - base; r.Protocol == protocol && slot >= 0 && slot < slots {
				left[slot] = true
			}
		}
	}
	for slot := range left {
		if holder, err := hold(slot); err == nil {
			_ = empty(slot)
			holder.Close()
		}
	}
	return k
}

var families = [...]int{netlink.FAMILY_V4, netlink.FAMILY_V6}

// hold takes a slot, unless another process has it.
func hold(slot int) (io.Closer, error) { return net.Listen("unix", "@weir/route/"+strconv.Itoa(slot)) }

// claim takes a free slot whose table nobody else uses.
func (k *Routes) claim() error {
	if k.holder != nil {
		return nil
	}
	var last error
	for slot := range slots {
		holder, err := hold(slot)
		if err != nil {
			last = err
			continue
		}
		if foreign(slot) {
			holder.Close()
			last = fmt.Errorf("table %d is in use by others", base+slot)
			continue
		}
		k.slot, k.holder = slot, holder
		return nil
	}
	return fmt.Errorf("no routing table is free among %d to %d: %w", base, base+slots-1, last)
}

// foreign reports whether a slot's table holds routes of others.
func foreign(slot int) bool {
	for _, family := range families {
		routes, _ := listRoutes(family, base+slot)
		if slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Protocol != protocol }) {
			return true
		}
	}
	return false
}

// Ensure has a way back for everything that is wanted, adds what is missing, and returns what it has added. On an error
// nothing is left added. What it has already stays.
func (k *Routes) Ensure(want map[ReplyRoute]bool) (added []ReplyRoute, err error) {
	if len(want) == 0 {
		return nil, nil
	}
	if err := k.claim(); err != nil {
		return nil, err
	}
	defer k.idleSlot()
	for _, family := range families {
		n, err := k.ensure(family, want)
		added = append(added, n...)
		if err != nil {
			k.Remove(added)
			return nil, err
		}
	}
	for _, r := range added {
		k.have[r] = true
	}
	for r := range want {
		delete(k.idle, r)
	}
	return added, nil
}

func (k *Routes) ensure(family int, want map[ReplyRoute]bool) (added []ReplyRoute, err error) {
	missing := maps.Clone(want)
	maps.DeleteFunc(missing, func(r ReplyRoute, _ bool) bool { return familyOf(r) != family })
	if len(missing) == 0 {
		return nil, nil
	}
	rules, err := listRules(family)
	if err != nil {
		return nil, fmt.Errorf("listing policy rules: %w", err)
	}
	for _, r := range rules {
		if reply, ok := k.own(&r); ok && missing[reply] {
			delete(missing, reply)
			k.have[reply] = true
		}
	}
	if err := k.ensureRoute(family); err != nil {
		return nil, k.judge(err, rules, family, want)
	}
	for reply := range missing {
		if err := k.add(reply); err != nil {
			return added, k.judge(err, rules, family, want)
		}
		added = append(added, reply)
	}
	return added, k.verify(family, added)
}

func (k *Routes) add(reply ReplyRoute) error {
	err := netlink.RuleAdd(k.rule(reply))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("policy rule for %s: %w", reply, err)
	}
	return nil
}

// ensureRoute has the slot's table lead every address to this host.
func (k *Routes) ensureRoute(family int) error {
	routes, err := listRoutes(family, base+k.slot)
	if err == nil && slices.ContainsFunc(routes, leadsHere) {
		return nil
	}
	route, err := localRoute(family, base+k.slot)
	if err == nil {
		err = netlink.RouteAdd(route)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("local route in table %d: %w", base+k.slot, err)
	}
	return nil
}

// judge explains why there is no way back, unless one is there that somebody else has made: an administrator, for a
// weir without the right to do so itself.
func (k *Routes) judge(err error, rules []netlink.Rule, family int, want map[ReplyRoute]bool) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for reply := range want {
		covers := func(r netlink.Rule) bool { return covers(&r, reply) }
		if familyOf(reply) == family && !slices.ContainsFunc(rules, covers) {
			return fmt.Errorf("%w: the capability CAP_NET_ADMIN is missing", err)
		}
	}
	return nil
}

// verify looks whether the kernel has what it was given.
func (k *Routes) verify(family int, added []ReplyRoute) error {
	if len(added) == 0 {
		return nil
	}
	rules, err := listRules(family)
	if err != nil {
		return fmt.Errorf("listing policy rules: %w", err)
	}
	there := map[ReplyRoute]bool{}
	for _, r := range rules {
		if reply, ok := k.own(&r); ok {
			there[reply] = true
		}
	}
	for _, reply := range added {
		if !there[reply] {
			return fmt.Errorf("policy rule for %s: the kernel does not show what was added", reply)
		}
	}
	return nil
}

// Inherit has a way back of its own for whatever another running weir has one for and that is in use: sessions of the
// process that hands over to this one may be with servers that no configuration names any more.
func (k *Routes) Inherit() error {
	var theirs map[ReplyRoute]bool
	for _, family := range families {
		rules, err := listRules(family)
		if err != nil {
			return fmt.Errorf("listing policy rules: %w", err)
		}
		for _, r := range rules {
			if reply, ok := replyOf(&r); ok && !k.have[reply] {
				if theirs == nil {
					theirs = map[ReplyRoute]bool{}
				}
				theirs[reply] = true
			}
		}
	}
	if theirs == nil {
		return nil
	}
	used, unknown := inUse(alive)
	maps.DeleteFunc(theirs, func(r ReplyRoute, _ bool) bool { return !used[r] && unknown == nil })
	_, err := k.Ensure(theirs)
	return err
}

// Remove takes ways back away at once.
func (k *Routes) Remove(replies []ReplyRoute) {
	for _, r := range replies {
		_ = netlink.RuleDel(k.rule(r))
		delete(k.have, r)
		delete(k.idle, r)
	}
}

// RemoveUnused takes away what is not wanted any more, once no socket of this host talks to the server and it did not when last
// looked at either. It reports whether something is left that waits for that.
func (k *Routes) RemoveUnused(want map[ReplyRoute]bool) (waiting bool) {
	var extra []ReplyRoute
	for r := range k.have {
		if !want[r] {
			extra = append(extra, r)
		}
	}
	if len(extra) > 0 {
		used, err := inUse(alive)
		for _, r := range extra {
			switch {
			case used[r], err != nil: // rather too long than too short
				delete(k.idle, r)
			case k.idle[r]:
				k.Remove([]ReplyRoute{r})
			default:
				k.idle[r] = true
			}
		}
	}
	k.idleSlot()
	return len(k.idle) > 0 || len(k.have) > len(want)
}

// lastBytes bounds how long Close waits for sockets that were closed and have not delivered everything yet: without a way
// back, nothing that they send again is ever acknowledged.
const lastBytes = time.Second

// Close takes everything away that is this keeper's, once what was closed has delivered its last bytes.
func (k *Routes) Close() {
	pending := func() bool {
		used, _ := inUse(closing)
		for r := range k.have {
			if used[r] {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(lastBytes); len(k.have) > 0 && pending() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	k.release()
}

// idleSlot gives the slot up when nothing is in it.
func (k *Routes) idleSlot() {
	if len(k.have) == 0 {
		k.release()
	}
}

// release empties the slot and gives it up.
func (k *Routes) release() {
	if k.holder == nil {
		return
	}
	_ = empty(k.slot)
	k.holder.Close()
	k.holder, k.have, k.idle = nil, map[ReplyRoute]bool{}, map[ReplyRoute]bool{}
}
