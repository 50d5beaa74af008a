// Package admin serves the HTTP API of a running weir: status, metrics, events and the dashboard, and runtime changes
// (overrides, servers, clusters, reload, upgrade, stop). It reads snapshots and is never on the path of a session. The Weir
// interface is what it needs of the engine. README.md lists the endpoints and the metrics.
package admin
