// Command bench measures weir beside HAProxy, nginx and a direct connection, on one machine, over loopback.
//
// One run is one row (a kind of load) of one product in one round. A run starts everything afresh — the servers, the
// proxy, the load generator, each a process of its own on free loopback ports —, waits until the listener accepts,
// drives the load, reads what the kernel accounted to the proxy, and stops what it started. Rounds alternate the
// products, so that drift of the machine hits all of them alike, and ratios are taken between runs of the same round.
//
// What it leaves behind, in a directory per invocation: runs.jsonl with every single run, summary.md with the medians,
// ratios and verdicts, and one plot per figure. README.md beside this file explains the method and the rows.
//
// The files: row.go lists the rows and load_*.go drive them; product.go chooses the products, each in a file of its
// own; server_*.go are the servers behind them; process.go, ports.go and procfs.go deal with processes and what the
// kernel says about them; record.go, stats.go, target.go, compare.go, table.go, summary.go and plot.go turn runs into
// verdicts.
package main
