package topology

import (
	"context"
	"fmt"
	"strings"

	"weir/checks"
	"weir/internal/printable"
)

// mysqlFacts is the answer of a server of MySQL or MariaDB.
type mysqlFacts struct {
	readOnly    string // the variable that keeps clients from writing, such as "read_only = ON"; "" = the server is writable
	identity    string // server_uuid or server_id; "" = not known
	history     history
	replication replication
}

// replication is the state of a server's replication.
type replication struct {
	configured, runs bool
	broken           string // why it does not continue by itself; "" = it runs, was stopped, or waits for its source
}

// readOnlyVariables are the variables that keep ordinary clients from writing if they are not off. read_only of MariaDB 12 may
// also be NO_LOCK or NO_LOCK_NO_ADMIN. offline_mode of MySQL rejects ordinary clients.
var readOnlyVariables = []string{"super_read_only", "read_only", "innodb_read_only", "offline_mode"}

// askMySQL asks a server for its facts.
func askMySQL(ctx context.Context, s *checks.MySQLSession) (*mysqlFacts, error) {
	values, err := s.Variables(ctx, "VARIABLES", append([]string{"server_id", "server_uuid"}, readOnlyVariables...)...)
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	facts := &mysqlFacts{}
	if facts.readOnly, err = readOnlyOf(values); err != nil {
		return nil, err
	}
	facts.identity = printable.Clip(values["server_uuid"], printable.MaxQuote)
	if facts.identity == "" {
		facts.identity = printable.Clip(values["server_id"], printable.MaxQuote)
	}
	if facts.history, err = askHistory(ctx, s); err != nil {
		return nil, fmt.Errorf("read GTIDs: %w", err)
	}
	connections, err := s.Replication(ctx)
	switch {
	case err == nil:
		facts.replication = replicationOf(connections)
	case checks.MySQLErrorCode(err) == 0:
		return nil, fmt.Errorf("read replication: %w", err)
	}
	return facts, nil
}

// readOnlyOf returns the first variable that keeps clients from writing, with its value, or "". Servers without read_only
// are not of a known kind.
func readOnlyOf(values map[string]string) (string, error) {
	for _, name := range readOnlyVariables {
		value, found := values[name]
		switch {
		case !found && name == "read_only":
			return "", fmt.Errorf("read variables: expected read_only, got nothing")
		case !found, strings.EqualFold(value, "off"), value == "0":
		default:
			return name + " = " + printable.Clip(value, printable.MaxQuote), nil
		}
	}
	return "", nil
}

// unknownVariable is ER_UNKNOWN_SYSTEM_VARIABLE.
const unknownVariable = 1193

// askHistory asks a server for its GTIDs. A server that has none, or too many, has an unknown history. SHOW VARIABLES cuts
// long values; SELECT does not.
func askHistory(ctx context.Context, s *checks.MySQLSession) (history, error) {
	names := []string{"gtid_executed"}
	if s.MariaDB() {
		names = []string{"gtid_current_pos", "gtid_binlog_pos", "gtid_binlog_state", "gtid_slave_pos"}
	}
	columns := make([]string, len(names))
	for i, name := range names {
		columns[i] = "@@GLOBAL." + name + " AS " + name
	}
	values, err := s.Values(ctx, "SELECT "+strings.Join(columns, ", "), maxGTIDText+1, names...)
	switch {
	case checks.MySQLErrorCode(err) == unknownVariable:
		return history{unknown: "the server has no GTIDs"}, nil
	case err != nil:
		return history{}, err
	case s.MariaDB():
		return mariadbHistory(values), nil
	}
	return mysqlHistory(values["gtid_executed"]), nil
}

// replicationOf returns the state of a server's replication connections together.
//
// A replica whose source is gone waits for it ("Connecting"), and one that an operator has stopped has no error: both have
// what they had. A replica with an error does not continue without an operator.
func replicationOf(connections []checks.MySQLReplication) replication {
	r := replication{configured: len(connections) > 0, runs: len(connections) > 0}
	for _, c := range connections {
		for _, thread := range []struct{ name, state, err string }{{"io", c.IO, c.IOError}, {"sql", c.SQL, c.SQLError}} {
			if strings.EqualFold(thread.state, "yes") {
				continue
			}
			r.runs = false
			if strings.EqualFold(thread.state, "no") && thread.err != "" && r.broken == "" {
				r.broken = fmt.Sprintf("the %s thread has stopped: %s", thread.name, thread.err)
			}
		}
	}
	return r
}
