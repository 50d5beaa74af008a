package topology

import "strings"

// mariadbGTIDs is what a server of MariaDB has executed. Source: MariaDB documentation, "Global Transaction ID" and "GTID
// System Variables".
//
// A position of MariaDB names one transaction per domain, the last one, and stands for all before it in the binary log of
// that domain. Numbers alone do not compare two servers: after both have written, one has 0-1-105 and the other 0-2-103, and
// neither has the transactions of the other. Therefore a server includes another one if it has executed the last
// transaction of the other in every domain, which gtid_binlog_state and gtid_slave_pos tell:
//
//   - gtid_current_pos is the last transaction of each domain: that of gtid_binlog_pos if the server itself has written it and
//     its number is higher, else that of gtid_slave_pos.
//   - gtid_binlog_pos is the last transaction in the binary log. It counts if its number is higher than that of
//     gtid_current_pos, which ignores it after a change of the server's number (server_id).
//   - gtid_binlog_state has the last number in the binary log for each pair of domain and origin. A replica has the
//     transactions of its primary in it only with log_slave_updates.
//   - gtid_slave_pos is the last replicated transaction of each domain, with or without a binary log.
type mariadbGTIDs struct {
	last map[uint32]mariadbGTID   // last transaction of each domain
	seen map[mariadbOrigin]uint64 // highest executed number of each pair of domain and origin
}

type mariadbOrigin struct{ domain, server uint32 }

type mariadbGTID struct {
	mariadbOrigin
	number uint64
}

// parseMariaDBGTIDs returns what a server has executed, from the values of its variables.
func parseMariaDBGTIDs(currentPos, binlogPos, binlogState, slavePos string) (mariadbGTIDs, error) {
	set := mariadbGTIDs{last: map[uint32]mariadbGTID{}, seen: map[mariadbOrigin]uint64{}}
	for i, text := range []string{currentPos, binlogPos, binlogState, slavePos} {
		list, err := parseMariaDBPosition(text)
		if err != nil {
			return mariadbGTIDs{}, err
		}
		for _, g := range list {
			set.seen[g.mariadbOrigin] = max(set.seen[g.mariadbOrigin], g.number)
			if old, found := set.last[g.domain]; i < 2 && (!found || g.number > old.number) {
				set.last[g.domain] = g
			}
		}
	}
	return set, nil
}

// parseMariaDBPosition parses a list of transactions "domain-server-number", separated by commas.
func parseMariaDBPosition(text string) ([]mariadbGTID, error) {
	if len(text) > maxGTIDText {
		return nil, errTooLong
	}
	var list []mariadbGTID
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		domain, rest, _ := strings.Cut(part, "-")
		server, number, _ := strings.Cut(rest, "-")
		d, ok1 := parseSequence(domain)
		s, ok2 := parseSequence(server)
		n, ok3 := parseSequence(number)
		if !ok1 || !ok2 || !ok3 || d > 1<<32-1 || s > 1<<32-1 {
			return nil, malformedGTID(part)
		}
		list = append(list, mariadbGTID{mariadbOrigin{uint32(d), uint32(s)}, n})
	}
	return list, nil
}

// includes reports whether a has executed everything that b has.
func (a mariadbGTIDs) includes(b mariadbGTIDs) bool {
	for _, g := range b.last {
		if number, found := a.seen[g.mariadbOrigin]; !found || number < g.number {
			return false
		}
	}
	return true
}
