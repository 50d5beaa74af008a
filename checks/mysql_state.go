package checks

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// mysqlSession queries a server after the login.
type mysqlSession struct {
	conn    sqldriver.Conn
	explain func(error) error // turns a driver error into one that can be reported
	role    string            // primary or replica, for the report
}

// row is one row of a result by lower-case column name. NULL values are absent.
type row map[string]string

// query runs a query and returns its first rows, at most 16, and the column names in order.
func (s *mysqlSession) query(ctx context.Context, query string) (rows []row, columns []string, err error) {
	q, ok := s.conn.(sqldriver.QueryerContext)
	if !ok {
		return nil, nil, errors.New("the driver cannot query")
	}
	result, err := q.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, nil, s.explain(err)
	}
	columns = result.Columns()
	for i := range columns {
		columns[i] = strings.ToLower(columns[i])
	}
	for len(rows) < 16 {
		values := make([]sqldriver.Value, len(columns))
		if err := result.Next(values); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return nil, nil, s.explain(err)
		}
		r := row{}
		for i, v := range values {
			switch v := v.(type) {
			case nil:
			case []byte:
				r[columns[i]] = string(v)
			default:
				r[columns[i]] = fmt.Sprint(v)
			}
		}
		rows = append(rows, r)
	}
	if err := result.Close(); err != nil {
		return nil, nil, s.explain(err)
	}
	return rows, columns, nil
}

// verify runs the checks that the options request.
func (o MySQL) verify(ctx context.Context, s *mysqlSession) error {
	if o.Role == "primary" {
		if err := s.checkWritable(ctx); err != nil {
			return err
		}
	}
	if o.Role == "replica" || o.MaxLag > 0 && o.Role == "" {
		if err := s.checkReplication(ctx, o.Role == "replica", o.MaxLag); err != nil {
			return err
		}
	}
	if o.Galera {
		if err := s.checkGalera(ctx, o.AllowDonor); err != nil {
			return err
		}
	}
	if o.Query != "" {
		return s.checkQuery(ctx, o.Query)
	}
	return nil
}

// checkWritable fails if the server is read only.
func (s *mysqlSession) checkWritable(ctx context.Context) error {
	rows, columns, err := s.query(ctx, "SELECT @@global.read_only")
	if err != nil {
		return fmt.Errorf("role: %w", err)
	}
	if len(rows) == 0 || len(columns) == 0 {
		return errors.New("role: expected read_only, got nothing")
	}
	switch v := rows[0][columns[0]]; strings.ToUpper(v) {
	case "0", "OFF":
		s.role = "primary"
		return nil
	default:
		return fmt.Errorf("role: expected primary (read_only = 0), got read_only = %s", quote([]byte(v)))
	}
}

// noSuchStatement is ER_PARSE_ERROR: the server has the older statement.
const noSuchStatement = 1064

// checkReplication fails if the server is a replica that does not run or lags behind. If must is set, it also fails if
// the server is not a replica.
func (s *mysqlSession) checkReplication(ctx context.Context, must bool, maxLag time.Duration) error {
	rows, _, err := s.query(ctx, "SHOW REPLICA STATUS")
	var serverErr *mysqlError
	if errors.As(err, &serverErr) && serverErr.code == noSuchStatement {
		rows, _, err = s.query(ctx, "SHOW SLAVE STATUS")
	}
	if err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	if len(rows) == 0 {
		if must {
			return errors.New("role: expected replica, got no replication")
		}
		return nil
	}
	s.role = "replica"
	for _, r := range rows {
		for _, thread := range []string{"io", "sql"} {
			if v := r.first("replica_"+thread+"_running", "slave_"+thread+"_running"); !strings.EqualFold(v, "yes") {
				return fmt.Errorf("replication: expected the %s thread to run, got %s%s", thread, quote([]byte(v)), r.threadError(thread))
			}
		}
		if maxLag <= 0 {
			continue
		}
		v := r.first("seconds_behind_source", "seconds_behind_master")
		seconds, err := strconv.Atoi(v)
		if err != nil || seconds < 0 || seconds > 1<<31 {
			return fmt.Errorf("replication: expected a lag of at most %v, got %s", maxLag, quote([]byte(v)))
		}
		if lag := time.Duration(seconds) * time.Second; lag > maxLag {
			return fmt.Errorf("replication: expected a lag of at most %v, got %v", maxLag, lag)
		}
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

// checkGalera fails unless the server is a synced and ready member of a Galera cluster's primary component.
func (s *mysqlSession) checkGalera(ctx context.Context, allowDonor bool) error {
	rows, columns, err := s.query(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN "+
		"('wsrep_cluster_status', 'wsrep_local_state', 'wsrep_local_state_comment', 'wsrep_ready')")
	if err != nil {
		return fmt.Errorf("galera: %w", err)
	}
	status := map[string]string{}
	for _, r := range rows {
		if len(columns) >= 2 {
			status[strings.ToLower(r[columns[0]])] = r[columns[1]]
		}
	}
	return galeraVerdict(status, allowDonor)
}

// galeraVerdict checks a server's status variables.
func galeraVerdict(status map[string]string, allowDonor bool) error {
	if v := status["wsrep_cluster_status"]; !strings.EqualFold(v, "primary") {
		return fmt.Errorf("galera: expected wsrep_cluster_status Primary, got %s", quote([]byte(v)))
	}
	state := status["wsrep_local_state"]
	if state != galeraSynced && !(allowDonor && state == galeraDonor) {
		want := "Synced"
		if allowDonor {
			want = "Synced or Donor"
		}
		return fmt.Errorf("galera: expected wsrep_local_state %s, got %s", want, quote([]byte(state+" "+status["wsrep_local_state_comment"])))
	}
	if v := status["wsrep_ready"]; !strings.EqualFold(v, "on") {
		return fmt.Errorf("galera: expected wsrep_ready ON, got %s", quote([]byte(v)))
	}
	return nil
}

// checkQuery fails if a query's first value is 0, empty or NULL.
func (s *mysqlSession) checkQuery(ctx context.Context, query string) error {
	const want = "a first value that is not 0, empty or NULL"
	rows, columns, err := s.query(ctx, query)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	if len(rows) == 0 || len(columns) == 0 {
		return fmt.Errorf("query: expected %s, got no row", want)
	}
	v, ok := rows[0][columns[0]]
	if !ok {
		return fmt.Errorf("query: expected %s, got NULL", want)
	}
	if n, err := strconv.ParseFloat(v, 64); v == "" || err == nil && n == 0 {
		return fmt.Errorf("query: expected %s, got %s", want, strconv.Quote(clip(v)))
	}
	return nil
}
