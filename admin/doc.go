// Package admin serves the API of a running weir: what is (JSON, metrics, a stream of events), and what an operator may
// change (states and weights, servers and clusters, reload). It is a view on copies and never on the path of a session.
// What it needs of a running weir is the Weir interface; README.md lists the endpoints and the metrics.
package admin
