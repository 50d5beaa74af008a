// Package limits divides limits among the nodes of a fleet, so that the sum of what all nodes use never exceeds a limit.
// It is pure: records of the store and the time go in, parts and transactions come out.
//
// # Records
//
// The store has one record per node, limits/nodes/NODE, and 256 records with the parts of all limits, limits/parts/HH,
// by the hash of the limit's key. A record of parts lists for each limit what each node holds of it. A node changes its own
// part only, with a transaction that holds only if these records are as the node has read them; it raises its
// part only if the sum of all parts stays within the limit. Each transaction also rewrites the record of its node (a beat).
// So a node writes at most one transaction per second, however many limits change, and one beat per reserve/20 (at least
// a second, at most 10 s) if nothing changes. One record per limit would need 10,000 of them at the first start, one per
// node would make each change of a part conflict with those of all other nodes.
//
// # Division
//
// While no node lacks sessions, parts stay as they are: equal at first. A node whose part is used up gets more, at the
// expense of nodes that use less than theirs, until all parts are used up or equal (max-min fairness). A node keeps a
// little more than it uses, if the limit is at least 8 per node. A part shrinks in three steps: the node stops using it,
// waits until the sessions above it have ended, and only then gives it back in the store.
//
// While the nodes have different values of a limit, as during a roll-out, parts grow within the lowest.
//
// # Silent nodes
//
// The part of a node that is silent stays reserved. A node declares with each beat for how long (reserve). Let it send a
// beat at its time s, and let another node see that beat at its own time o, which is later. If the first node cannot prove
// another beat, it stops using its parts of servers and rates at s + reserve - reserve/10 (at least a second less) and ends
// its sessions there. The other node may declare it gone at o + reserve, with a transaction that holds only if the beat is
// still the last one. So the parts are out of use before another node takes them, whatever the clocks show, if the rates of
// the nodes' monotonic clocks differ by less than a twentieth and ending the sessions takes less than another twentieth of
// the reserve. A node that has been declared gone cannot prove another beat, and starts again with the parts that the store
// has for it. Reserve 0 is for ever: the node never stops, and only an operator may declare it gone.
//
// A process that is stopped (SIGSTOP) or a machine that is suspended cannot end its sessions. It admits none with a part
// that has expired, because the deadline is checked where a server is selected; but the sessions that it had stay open
// until it continues. A watchdog that kills a process which hangs for a twentieth of the reserve closes this gap.
//
// Parts of limits per source never pass to others by time: a node without the store would have to reject all clients.
package limits
