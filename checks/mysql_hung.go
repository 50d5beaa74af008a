package checks

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A server does not notice that a check has given up while its query waits, such as for the lock of a row. Without a limit,
// one of the server's threads would wait for each run of the check.

// limitQueries makes the server end the queries of the session shortly before the check's deadline. Servers without such a
// limit ignore it. MySQL limits only SELECT statements in general; for others it limits the wait for a lock.
func (s *mysqlSession) limitQueries(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return
	}
	s.limitQueriesTo(time.Until(deadline))
}

// limitQueriesTo makes the server end the queries of the session shortly before a time limit.
func (s *mysqlSession) limitQueriesTo(limit time.Duration) {
	left := max(limit*9/10, 10*time.Millisecond)
	statement := fmt.Sprintf("SET SESSION max_statement_time = %.3f", left.Seconds())
	if !s.greeting.isMariaDB() {
		seconds := int((left + time.Second - 1) / time.Second)
		statement = fmt.Sprintf("SET SESSION max_execution_time = %d, lock_wait_timeout = %d, innodb_lock_wait_timeout = %d",
			left.Milliseconds(), seconds, seconds)
	}
	_ = s.query(statement, named(), func(row) {})
}

// hungQueries holds the last queries that have not ended before their check, by the server's address.
type hungQueries struct {
	mu        sync.Mutex
	byAddress map[string]hungQuery
}

type hungQuery struct {
	thread uint32
	query  string
}

// add records the last query of a session that was given up.
func (h *hungQueries) add(s *mysqlSession, address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byAddress == nil {
		h.byAddress = map[string]hungQuery{}
	}
	h.byAddress[address] = hungQuery{s.greeting.thread, s.lastQuery}
}

// end ends the query of an earlier session that was given up, if it still runs: the server may have restarted and given the
// thread's number to another client.
func (h *hungQueries) end(s *mysqlSession, address string) {
	h.mu.Lock()
	q, found := h.byAddress[address]
	delete(h.byAddress, address)
	h.mu.Unlock()
	if !found {
		return
	}
	runs := false
	err := s.query(fmt.Sprintf("SELECT ID FROM information_schema.PROCESSLIST WHERE ID = %d AND USER = SUBSTRING_INDEX(USER(), '@', 1) "+
		"AND COMMAND = 'Query' AND INFO = 0x%x", q.thread, q.query), named(), func(row) { runs = true })
	if err == nil && runs {
		_ = s.query(fmt.Sprintf("KILL QUERY %d", q.thread), named(), func(row) {})
	}
}
