// Package route maintains the routes of replies when servers are dialled from their clients' addresses (source =
// "client"): for each server a policy rule that leads its packets to a table in which every address is local.
//
//	ip rule add from SERVER sport PORT ipproto tcp lookup TABLE priority PRIORITY protocol 119
//	ip route add local default dev lo table TABLE protocol 119
//
// No packet filter is needed: rules match addresses and ports. Packets to this host's own addresses are found in
// the local table, before any of these rules.
//
// Several weirs may run in one network namespace. Each has its own slot: a table and a priority. A
// slot is locked by an abstract unix socket, which ends with its process and is visible exactly
// where the rules are: in the network namespace. Rules in a slot without a lock were left behind by a weir that was
// killed, and have no sessions. The next one that starts removes them.
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

// ReplyRoute identifies the packets that a server sends. It is a map key.
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
	// firstTable is the table and the rule priority of the first slot: after the table local (0), before main (32766).
	firstTable = 11900
	slots      = 16
	// protocol marks rules and routes of weir (rtm_protocol, rtnetlink(7)); values above 4 are free for any program.
	protocol = 119

	typeLocal   = 2  // RTN_LOCAL
	protocolTCP = 6  // IPPROTO_TCP
	protocolUDP = 17 // IPPROTO_UDP
)

// Routes holds the reply routes of one process. Its methods must not be called concurrently.
type Routes struct {
	slot     int
	slotLock io.Closer // lock of the slot; nil = no slot
	have     map[ReplyRoute]bool
	idle     map[ReplyRoute]bool // not wanted, and unused at the last check
}

// Open returns Routes without a route, and removes what killed processes have left behind, if permitted.
func Open() *Routes {
	k := &Routes{have: map[ReplyRoute]bool{}, idle: map[ReplyRoute]bool{}}
	left := map[int]bool{}
	for _, family := range families {
		rules, _ := listRules(family)
		for _, r := range rules {
			if slot := r.Priority - firstTable; r.Protocol == protocol && slot >= 0 && slot < slots {
				left[slot] = true
			}
		}
	}
	for slot := range left {
		if holder, err := lockSlot(slot); err == nil {
			_ = emptySlot(slot)
			holder.Close()
		}
	}
	return k
}

var families = [...]int{netlink.FAMILY_V4, netlink.FAMILY_V6}

// lockSlot locks a slot unless another process has locked it.
func lockSlot(slot int) (io.Closer, error) {
	return net.Listen("unix", "@weir/route/"+strconv.Itoa(slot))
}

// claimSlot locks a free slot whose table is not used by other programs.
func (k *Routes) claimSlot() error {
	if k.slotLock != nil {
		return nil
	}
	var last error
	for slot := range slots {
		holder, err := lockSlot(slot)
		if err != nil {
			last = err
			continue
		}
		if usedByOthers(slot) {
			holder.Close()
			last = fmt.Errorf("table %d is used by another program", firstTable+slot)
			continue
		}
		k.slot, k.slotLock = slot, holder
		return nil
	}
	return fmt.Errorf("no free routing table from %d to %d: %w", firstTable, firstTable+slots-1, last)
}

// usedByOthers reports whether a slot's table contains routes of other programs.
func usedByOthers(slot int) bool {
	for _, family := range families {
		routes, _ := listRoutes(family, firstTable+slot)
		if slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Protocol != protocol }) {
			return true
		}
	}
	return false
}

// Ensure adds the reply routes of want that are missing, and returns those that it added. On an error none remains
// added. Existing ones are kept.
func (k *Routes) Ensure(want map[ReplyRoute]bool) (added []ReplyRoute, err error) {
	if len(want) == 0 {
		return nil, nil
	}
	if err := k.claimSlot(); err != nil {
		return nil, err
	}
	defer k.releaseIfEmpty()
	for _, family := range families {
		n, err := k.ensureFamily(family, want)
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

func (k *Routes) ensureFamily(family int, want map[ReplyRoute]bool) (added []ReplyRoute, err error) {
	missing := maps.Clone(want)
	maps.DeleteFunc(missing, func(r ReplyRoute, _ bool) bool { return familyOf(r) != family })
	if len(missing) == 0 {
		return nil, nil
	}
	rules, err := listRules(family)
	if err != nil {
		return nil, fmt.Errorf("list policy rules: %w", err)
	}
	for _, r := range rules {
		if reply, ok := k.replyRoute(&r); ok && missing[reply] {
			delete(missing, reply)
			k.have[reply] = true
		}
	}
	if err := k.ensureRoute(family); err != nil {
		return nil, k.explain(err, rules, family, want)
	}
	for reply := range missing {
		if err := k.addRule(reply); err != nil {
			return added, k.explain(err, rules, family, want)
		}
		added = append(added, reply)
	}
	return added, k.verifyAdded(family, added)
}

func (k *Routes) addRule(reply ReplyRoute) error {
	err := netlink.RuleAdd(k.rule(reply))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("policy rule for %s: %w", reply, err)
	}
	return nil
}

// ensureRoute makes the slot's table lead every address to this host.
func (k *Routes) ensureRoute(family int) error {
	routes, err := listRoutes(family, firstTable+k.slot)
	if err == nil && slices.ContainsFunc(routes, isLocalDefault) {
		return nil
	}
	route, err := localRoute(family, firstTable+k.slot)
	if err == nil {
		err = netlink.RouteAdd(route)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("local route in table %d: %w", firstTable+k.slot, err)
	}
	return nil
}

// explain returns the reason why routes could not be added, or nil if rules of another owner serve the purpose: an
// administrator may have added them for a weir without the capability.
func (k *Routes) explain(err error, rules []netlink.Rule, family int, want map[ReplyRoute]bool) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for reply := range want {
		covers := func(r netlink.Rule) bool { return leadsToThisHost(&r, reply) }
		if familyOf(reply) == family && !slices.ContainsFunc(rules, covers) {
			return fmt.Errorf("%w: missing capability CAP_NET_ADMIN", err)
		}
	}
	return nil
}

// verifyAdded checks that the kernel lists the added rules.
func (k *Routes) verifyAdded(family int, added []ReplyRoute) error {
	if len(added) == 0 {
		return nil
	}
	rules, err := listRules(family)
	if err != nil {
		return fmt.Errorf("list policy rules: %w", err)
	}
	there := map[ReplyRoute]bool{}
	for _, r := range rules {
		if reply, ok := k.replyRoute(&r); ok {
			there[reply] = true
		}
	}
	for _, reply := range added {
		if !there[reply] {
			return fmt.Errorf("policy rule for %s: not found after it was added", reply)
		}
	}
	return nil
}

// Inherit adds the reply routes of other running weirs that are in use. After an upgrade, sessions of the old process
// may use servers that are no longer in the configuration.
func (k *Routes) Inherit() error {
	var theirs map[ReplyRoute]bool
	for _, family := range families {
		rules, err := listRules(family)
		if err != nil {
			return fmt.Errorf("list policy rules: %w", err)
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
	used, unknown := remoteEnds(openStates)
	maps.DeleteFunc(theirs, func(r ReplyRoute, _ bool) bool { return !used[r] && unknown == nil })
	_, err := k.Ensure(theirs)
	return err
}

// Remove removes routes at once.
func (k *Routes) Remove(replies []ReplyRoute) {
	for _, r := range replies {
		_ = netlink.RuleDel(k.rule(r))
		delete(k.have, r)
		delete(k.idle, r)
	}
}

// RemoveUnused removes routes that are not in want once no socket of this host has used them in two consecutive calls.
// It reports whether unused routes remain.
func (k *Routes) RemoveUnused(want map[ReplyRoute]bool) (waiting bool) {
	var extra []ReplyRoute
	for r := range k.have {
		if !want[r] {
			extra = append(extra, r)
		}
	}
	if len(extra) > 0 {
		used, err := remoteEnds(openStates)
		for _, r := range extra {
			switch {
			case used[r], err != nil: // keep it if in doubt
				delete(k.idle, r)
			case k.idle[r]:
				k.Remove([]ReplyRoute{r})
			default:
				k.idle[r] = true
			}
		}
	}
	k.releaseIfEmpty()
	return len(k.idle) > 0 || len(k.have) > len(want)
}

// flushTimeout limits how long Close waits for closed sockets that have undelivered bytes. Without the route their
// retransmissions are never acknowledged.
const flushTimeout = time.Second

// Close removes all routes of this process after closed sockets have delivered their last bytes.
func (k *Routes) Close() {
	pending := func() bool {
		used, _ := remoteEnds(closingStates)
		for r := range k.have {
			if used[r] {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(flushTimeout); len(k.have) > 0 && pending() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	k.releaseSlot()
}

// releaseIfEmpty releases the slot if it has no routes.
func (k *Routes) releaseIfEmpty() {
	if len(k.have) == 0 {
		k.releaseSlot()
	}
}

// releaseSlot empties and unlocks the slot.
func (k *Routes) releaseSlot() {
	if k.slotLock == nil {
		return
	}
	_ = emptySlot(k.slot)
	k.slotLock.Close()
	k.slotLock, k.have, k.idle = nil, map[ReplyRoute]bool{}, map[ReplyRoute]bool{}
}
