// Package checks tests servers.
//
// A Monitor is one kind of test. It is a function that opens its own connection to a Target, has the context as its
// only time limit, limits what it reads, and returns a Report or an error that states what was expected and what was
// received. Each kind has its own file and a struct for its options (TCP, HTTP, Redis …), whose Monitor method builds
// it. NewMonitor builds one from the configuration of a check. Programs that embed the package write their own
// functions; there is no registry.
//
// A Runner runs jobs. A job is one monitor for one server. The runner is responsible for the schedule, the number of
// concurrent runs, the verdict (Verdict.Step), panics, and shortages of this host. It does not depend on protocols.
//
// The package returns errors and delivers results. It does not log.
package checks
