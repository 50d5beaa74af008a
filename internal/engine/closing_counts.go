package engine

import "weir/l4"

// counts returns the counts of closed sessions, for the new process of an upgrade.
func (k *closings) counts() (list []closedCounts) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, closer := range k.closers {
		for _, r := range l4.CloseCauses() {
			if quiet, forced := closer.Closed(r); quiet+forced > 0 {
				list = append(list, closedCounts{name, r.String(), quiet, forced})
			}
		}
	}
	return list
}

// setBaseline adds what another process has counted. A later call replaces an earlier one.
func (k *closings) setBaseline(list []closedCounts) {
	for _, c := range list {
		for _, r := range l4.CloseCauses() {
			if r.String() == c.Reason {
				k.closer(c.Cluster).SetBaseline(r, c.Quiet, c.Forced)
			}
		}
	}
}
