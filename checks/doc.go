// Package checks finds out whether servers work.
//
// A Monitor is one kind of test, as a function: it opens its own fresh connection to a Target, has the context as its
// only time limit and a cap on what it reads, and returns a Report or an error that says what was expected and what
// came. Each kind lives in a file of its own, with a struct for its options (TCP, HTTP, Redis …) whose Monitor method
// builds it; NewMonitor builds one from a configuration's check. Programs that embed the package write their own
// functions; there is no registry.
//
// A Runner runs jobs, each a monitor against one server: when, how many at a time, how failures become a verdict
// (Verdict.Step), what happens to panics and to shortages of this host. It knows nothing about protocols.
//
// The package returns errors and delivers results; it does not log.
package checks
