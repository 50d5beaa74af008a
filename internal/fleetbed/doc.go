// Package fleetbed is the test bed, and the demonstration, of several weirs that share one address: network namespaces with
// clients, a router that distributes connections (ECMP), nodes that announce the address with BIRD or FRR while weir has it, and
// servers, with etcd beside them in the demonstration.
//
//	clients -- router -- node 1: BIRD, weir
//	             |  \--- node 2: BIRD, weir
//	          servers \- node 3: FRR, weir
//
// The router runs BIRD and learns the address from the nodes by BGP, with BFD. It keeps established connections at their node when
// others come and go, as routers with resilient hashing do.
package fleetbed
