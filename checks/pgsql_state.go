package checks

import (
	"fmt"
	"strconv"
	"time"
)

// verify runs the checks that the options request. It returns the state of the server for the report, or "".
func (o PgSQL) verify(s *pgsqlSession) (state string, err error) {
	if o.Role != "" || o.MaxLag > 0 {
		r, err := s.replication()
		if err != nil {
			return "", fmt.Errorf("role: %w", err)
		}
		state = r.String()
		if err := r.verify(o.Role, o.MaxLag); err != nil {
			return state, err
		}
	}
	if o.Query != "" {
		reply, err := s.query(o.Query)
		if err != nil {
			return state, fmt.Errorf("query: %w", err)
		}
		value, null := reply.first()
		if reply.boolean && value == "f" {
			value = "0"
		}
		return state, queryVerdict(reply.rows, value, null)
	}
	return state, nil
}

// pgsqlReplication is what a server says about its replication.
type pgsqlReplication struct {
	inRecovery bool
	readOnly   bool
	lag        time.Duration // of a server in recovery; below 0 = unknown
	streams    bool          // it receives from another server
}

// replicationQuery returns the four values of pgsqlReplication. Functions for a server in recovery return NULL elsewhere.
// What a server reports as received may be the begin of the segment in which its stream began, before what it has replayed.
const replicationQuery = `SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), ` +
	`CASE WHEN pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn() THEN 0 ` +
	`ELSE EXTRACT(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END, ` +
	`EXISTS (SELECT FROM pg_stat_wal_receiver)`

func (s *pgsqlSession) replication() (r pgsqlReplication, err error) {
	reply, err := s.query(replicationQuery)
	if err != nil {
		return r, err
	}
	if len(reply.row) != 4 || reply.row[0] == nil || reply.row[1] == nil {
		return r, fmt.Errorf("expected a row of 4 values, got %d", len(reply.row))
	}
	r.inRecovery, r.readOnly = string(reply.row[0]) == "t", string(reply.row[1]) != "off"
	r.streams = string(reply.row[3]) == "t"
	r.lag = -1
	if seconds, err := strconv.ParseFloat(string(reply.row[2]), 64); err == nil {
		r.lag = time.Duration(min(max(seconds, 0), 1<<31) * float64(time.Second)) // the clock of the primary may be ahead
	}
	return r, nil
}

func (r *pgsqlReplication) String() string {
	switch {
	case !r.inRecovery && r.readOnly:
		return "read only"
	case !r.inRecovery:
		return "primary"
	}
	text := "replica"
	if !r.streams {
		text += ", not streaming"
	}
	if r.lag >= 0 {
		text += fmt.Sprintf(", lag %v", r.lag.Round(time.Millisecond))
	}
	return text
}

// verify fails if the server has another role or lags behind.
func (r *pgsqlReplication) verify(role string, maxLag time.Duration) error {
	switch {
	case role == "primary" && r.inRecovery:
		return &StandbyError{fmt.Errorf("role: expected primary, got replica (in recovery)")}
	case role == "primary" && r.readOnly:
		return &StandbyError{fmt.Errorf("role: expected primary, got transaction_read_only = on")}
	case role == "replica" && !r.inRecovery:
		return &StandbyError{fmt.Errorf("role: expected replica, got primary (not in recovery)")}
	case maxLag == 0 || !r.inRecovery:
		return nil
	case r.lag < 0:
		return fmt.Errorf("replication: expected a lag of at most %v, got an unknown lag", maxLag)
	case r.lag > maxLag:
		return fmt.Errorf("replication: expected a lag of at most %v, got %v", maxLag, r.lag.Round(time.Millisecond))
	}
	return nil
}

// pgsqlReply is the first row of a result.
type pgsqlReply struct {
	rows    int
	row     [][]byte // nil values are NULL; at most maxValue bytes of a value are kept
	boolean bool     // the first value is a truth value
}

// first returns the first value.
func (r *pgsqlReply) first() (value string, null bool) {
	if len(r.row) == 0 {
		return "", true
	}
	return string(r.row[0]), r.row[0] == nil
}

// boolOID is the type of truth values in pg_type.
const boolOID = 16

// query runs statements and returns the first row of the first of them that has a result. The server ends them shortly
// before the deadline of the check: it does not notice that a client has given up while a statement waits.
func (s *pgsqlSession) query(statements string) (reply pgsqlReply, err error) {
	if deadline, ok := s.wire.ctx.Deadline(); ok {
		left := max(time.Until(deadline)*9/10, 10*time.Millisecond)
		statements = fmt.Sprintf("SET LOCAL statement_timeout = %d; %s", left.Milliseconds(), statements)
	}
	results := s.conn.Exec(s.wire.ctx, statements)
	found := false
	for results.NextResult() {
		reader := results.ResultReader()
		fields := reader.FieldDescriptions()
		wanted := !found && len(fields) > 0
		if wanted {
			found = true
			reply.boolean = fields[0].DataTypeOID == boolOID
		}
		for reader.NextRow() {
			if !wanted {
				continue
			}
			if reply.rows++; reply.rows == 1 {
				for _, v := range reader.Values() {
					if v != nil {
						v = append([]byte{}, v[:min(len(v), maxValue)]...)
					}
					reply.row = append(reply.row, v)
				}
			}
		}
		if _, err := reader.Close(); err != nil {
			break // Close below returns it
		}
	}
	if err := results.Close(); err != nil {
		return reply, s.wire.cause(err, "a result")
	}
	return reply, nil
}
