// Command bench measures weir beside HAProxy, nginx and a direct connection, on one machine, over loopback.
//
// One run is one row (a kind of load) of one product in one round. A run starts the servers, the proxy and the load
// generator, each a separate process on free loopback ports, waits until the listener accepts, drives the load, reads the
// proxy's CPU time from the kernel, and stops all processes. Rounds alternate the products, so that changes of the machine
// affect all of them, and ratios are taken between runs of the same round.
//
// It writes a directory per invocation: runs.jsonl with every run, summary.md with the medians, ratios and verdicts, and
// one plot per figure. README.md explains the method and the rows.
//
// row.go lists the rows and load_*.go drive them; product.go selects the products, each in its own file; server_*.go are
// the servers; process.go, ports.go and procfs.go handle processes and their statistics; record.go, stats.go, target.go,
// compare.go, table.go, summary.go and plot.go turn runs into verdicts.
package main
