package checks

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// named keeps the columns with the given names.
func named(names ...string) func(int, string) bool {
	return func(_ int, name string) bool { return slices.Contains(names, name) }
}

// variables returns status or system variables by name. show is STATUS or VARIABLES.
func (s *mysqlSession) variables(show string, names ...string) (map[string]string, error) {
	values := map[string]string{}
	query := "SHOW GLOBAL " + show + " WHERE Variable_name IN ('" + strings.Join(names, "', '") + "')"
	err := s.query(query, named("variable_name", "value"), func(r row) {
		if name := strings.ToLower(r["variable_name"]); slices.Contains(names, name) {
			values[name] = r["value"]
		}
	})
	return values, err
}

// verify runs the checks that the options request.
func (o MySQL) verify(s *mysqlSession) error {
	if o.Role == "primary" {
		if err := s.checkWritable(); err != nil {
			return err
		}
	}
	if o.Role == "replica" || o.MaxLag > 0 && o.Role == "" {
		if err := s.checkReplication(o.Role == "replica", o.MaxLag); err != nil {
			return err
		}
	}
	if o.Galera {
		if err := s.checkGalera(o.AllowDonor); err != nil {
			return err
		}
	}
	if o.Query != "" {
		return s.checkQuery(o.Query)
	}
	return nil
}

// readOnlyVariable returns the name and value of a variable that makes the server read only, or "" if it accepts writes.
func (s *mysqlSession) readOnlyVariable() (name, value string, err error) {
	values, err := s.variables("VARIABLES", "read_only", "innodb_read_only")
	if err != nil {
		return "", "", err
	}
	for _, name := range []string{"read_only", "innodb_read_only"} {
		switch value, found := values[name]; {
		case strings.EqualFold(value, "off") || value == "0", !found && name == "innodb_read_only":
		default:
			return name, value, nil
		}
	}
	return "", "", nil
}

// checkWritable fails if the server is read only.
func (s *mysqlSession) checkWritable() error {
	switch name, value, err := s.readOnlyVariable(); {
	case err != nil:
		return fmt.Errorf("role: %w", err)
	case name != "" && value == "":
		return fmt.Errorf("role: expected %s, got nothing", name)
	case name != "":
		return &StandbyError{fmt.Errorf("role: expected primary (%s = 0), got %s = %s", name, name, quote([]byte(value)))}
	}
	s.role = "primary"
	return nil
}

// noSuchStatement is ER_PARSE_ERROR: the server has the older statement.
const noSuchStatement = 1064

// replicationStatements are the statements that show all replication connections (channels), the newest first. Older
// statements of MariaDB show only the connection without a name.
func replicationStatements(mariaDB bool) []string {
	if mariaDB {
		return []string{"SHOW ALL REPLICAS STATUS", "SHOW ALL SLAVES STATUS", "SHOW SLAVE STATUS"}
	}
	return []string{"SHOW REPLICA STATUS", "SHOW SLAVE STATUS"}
}

// replicationColumns are the columns of a replication connection that are read.
var replicationColumns = []string{
	"connection_name", "channel_name", "replica_io_running", "replica_sql_running", "slave_io_running", "slave_sql_running",
	"seconds_behind_source", "seconds_behind_master", "last_io_error", "last_sql_error",
}

// eachConnection calls each with the state of every replication connection.
func (s *mysqlSession) eachConnection(each func(row)) error {
	var err error
	for _, statement := range replicationStatements(s.greeting.isMariaDB()) {
		err = s.query(statement, named(replicationColumns...), each)
		var serverErr *mysqlError
		if !errors.As(err, &serverErr) || serverErr.code != noSuchStatement {
			break
		}
	}
	return err
}

// checkReplication fails if the server is a replica of which a connection does not run or lags behind. If must is set, it
// also fails if the server is not a replica.
func (s *mysqlSession) checkReplication(must bool, maxLag time.Duration) error {
	connections := 0
	var first error
	err := s.eachConnection(func(r row) {
		connections++
		if err := r.checkConnection(maxLag); err != nil && first == nil {
			first = err
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("replication: %w", err)
	case connections == 0 && !must:
		return nil
	case connections == 0:
		err := errors.New("role: expected replica, got no replication")
		if name, _, readErr := s.readOnlyVariable(); readErr == nil && name == "" {
			return &StandbyError{err}
		}
		return err
	}
	s.role = "replica"
	return first
}

// checkConnection checks one replication connection.
func (r row) checkConnection(maxLag time.Duration) error {
	name := ""
	if n := r.first("connection_name", "channel_name"); n != "" {
		name = " of connection " + quote([]byte(n))
	}
	for _, thread := range []string{"io", "sql"} {
		if v := r.first("replica_"+thread+"_running", "slave_"+thread+"_running"); !strings.EqualFold(v, "yes") {
			return fmt.Errorf("replication: expected the %s thread%s to run, got %s%s", thread, name, quote([]byte(v)), r.threadError(thread))
		}
	}
	if maxLag <= 0 {
		return nil
	}
	v := r.first("seconds_behind_source", "seconds_behind_master")
	seconds, err := strconv.Atoi(v)
	if err != nil || seconds < 0 || seconds > 1<<31 {
		return fmt.Errorf("replication: expected a lag%s of at most %v, got %s", name, maxLag, quote([]byte(v)))
	}
	if lag := time.Duration(seconds) * time.Second; lag > maxLag {
		return fmt.Errorf("replication: expected a lag%s of at most %v, got %v", name, maxLag, lag)
	}
	return nil
}

// first returns the value of the first of the columns that exists.
func (r row) first(names ...string) string {
	for _, name := range names {
		if v, ok := r[name]; ok {
			return v
		}
	}
	return ""
}

// threadError returns the last error of a replication thread in parentheses, or "".
func (r row) threadError(thread string) string {
	if v := r["last_"+thread+"_error"]; v != "" {
		return " (" + clipText(v) + ")"
	}
	return ""
}

// States of a member of a Galera cluster. Source: Galera Cluster, "Node State Changes".
const (
	galeraDonor  = "2"
	galeraSynced = "4"
)

// checkGalera fails unless the server is a synced and ready member of a Galera cluster's primary component that accepts
// queries.
func (s *mysqlSession) checkGalera(allowDonor bool) error {
	status, err := s.variables("STATUS", "wsrep_cluster_status", "wsrep_local_state", "wsrep_local_state_comment", "wsrep_ready")
	if err == nil {
		err = galeraVerdict(status, allowDonor)
	}
	if err != nil {
		return fmt.Errorf("galera: %w", err)
	}
	settings, err := s.variables("VARIABLES", "wsrep_reject_queries", "wsrep_sst_donor_rejects_queries", "pxc_maint_mode")
	if err == nil {
		err = galeraSettings(settings, status["wsrep_local_state"] == galeraDonor)
	}
	if err != nil {
		return fmt.Errorf("galera: %w", err)
	}
	return nil
}

// galeraSettings fails if a server rejects queries, or if Percona XtraDB Cluster is in maintenance.
func galeraSettings(settings map[string]string, donor bool) error {
	for _, s := range []struct{ name, want string }{
		{"wsrep_reject_queries", "NONE"}, {"pxc_maint_mode", "DISABLED"}, {"wsrep_sst_donor_rejects_queries", "OFF"},
	} {
		v, found := settings[s.name]
		if found && !strings.EqualFold(v, s.want) && (donor || s.name != "wsrep_sst_donor_rejects_queries") {
			return fmt.Errorf("expected %s %s, got %s", s.name, s.want, quote([]byte(v)))
		}
	}
	return nil
}

// galeraVerdict checks a server's status variables.
func galeraVerdict(status map[string]string, allowDonor bool) error {
	if v := status["wsrep_cluster_status"]; !strings.EqualFold(v, "primary") {
		return fmt.Errorf("expected wsrep_cluster_status Primary, got %s", quote([]byte(v)))
	}
	state := status["wsrep_local_state"]
	if state != galeraSynced && !(allowDonor && state == galeraDonor) {
		want := "Synced"
		if allowDonor {
			want = "Synced or Donor"
		}
		return fmt.Errorf("expected wsrep_local_state %s, got %s", want, quote([]byte(state+" "+status["wsrep_local_state_comment"])))
	}
	if v := status["wsrep_ready"]; !strings.EqualFold(v, "on") {
		return fmt.Errorf("expected wsrep_ready ON, got %s", quote([]byte(v)))
	}
	return nil
}

// checkQuery fails if a query's first value is 0, empty or NULL.
func (s *mysqlSession) checkQuery(query string) error {
	rows, value, null := 0, "", true
	first := ""
	err := s.query(query, func(i int, name string) bool {
		if i == 0 {
			first = name
		}
		return i == 0
	}, func(r row) {
		if rows++; rows == 1 {
			var found bool
			value, found = r[first]
			null = !found
		}
	})
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return queryVerdict(rows, value, null)
}

// queryVerdict fails if the first value of a result is 0, empty or NULL, or there is none.
func queryVerdict(rows int, value string, null bool) error {
	const want = "a first value that is not 0, empty or NULL"
	switch {
	case rows == 0:
		return fmt.Errorf("query: expected %s, got no row", want)
	case null:
		return fmt.Errorf("query: expected %s, got NULL", want)
	}
	if n, err := strconv.ParseFloat(value, 64); value == "" || err == nil && n == 0 {
		return fmt.Errorf("query: expected %s, got %s", want, strconv.Quote(clip(value)))
	}
	return nil
}
