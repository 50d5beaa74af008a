// Package topology finds out which server of a cluster is the primary, according to the data store: the Sentinels of a
// Redis deployment, the servers of a MySQL or MariaDB replication, or the nodes of a Galera cluster.
//
// A Watcher asks its source periodically and publishes a View after each change. The decision itself, from replies to a
// View, is pure and separate from the connections. What a View means for a cluster is decided by its consumer.
package topology
