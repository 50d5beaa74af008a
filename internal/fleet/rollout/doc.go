// Package rollout decides how a fleet changes from one shared configuration to another. It is pure: the store, the
// clock and the configurations are its caller's.
//
// The store has the revisions of the configuration and one Record. The record says which revision each node has to run
// (Record.Wanted), so that every node that can read it arrives at the same revision, however late. A roll-out is a
// sequence of records:
//
//	validating   every live node makes the plan of the new revision and votes
//	canary       the first nodes apply it and are watched
//	step         more nodes apply it, twice as many in each step, and are watched
//	rest         all other nodes apply it, and those that join
//	done         the new revision is in force
//	refused      a node voted against it; no node has applied it
//	rolled_back  the previous revision is in force again
//
// One node, the driver, writes the records, each under the condition that the one before it is still there (Driver). A
// driver that has left the fleet is replaced by the first of the other nodes. Nodes write reports: their vote, the
// revision that they run, and the figures by which they are judged.
package rollout
