// Package etcd keeps the records of a fleet in etcd, from version 3.4 on.
//
// A Store uses one endpoint at a time. After a call that fails, or a ping during a watch that does, it continues with the
// next one: a server that accepts connections and does not answer costs the timeout of one call. Reads are linearizable, so
// that the server of a minority does not answer with old records.
package etcd
