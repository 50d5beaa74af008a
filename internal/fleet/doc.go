// Package fleet shares records among the nodes of a fleet: several weirs that act as one. A store keeps the records;
// package etcd implements it, package fleettest models it for tests.
//
// A record has a key relative to the prefix of the fleet and a JSON object as value. Anything may write under the prefix:
// a value that is too large, malformed or of another version is reported as a Problem and otherwise ignored, and whatever
// a foreign value could fill is bounded. No secret is ever part of a record.
//
// Nothing waits for the store on the path of a session, a check, a reload or a stop: nodes continue with what they know.
package fleet
