package checks

import "strings"

// query runs a query and calls each with every row. keep reports which columns of a row are kept, by position and
// lower-case name; at most m.maxValue bytes of a value are. After an error the connection can only be closed, unless the
// error is a *mysqlError.
func (m *mysqlPackets) query(query string, keep func(i int, name string) bool, each func(row)) error {
	m.lastQuery = query
	if err := m.command(comQuery, query); err != nil {
		return err
	}
	if err := m.next(); err != nil {
		return err
	}
	if ended, err := m.isEnd(); ended || err != nil {
		return packetError(err)
	}
	first, err := m.in.Peek(1)
	switch {
	case err != nil:
		return closedError(err)
	case first[0] == 0: // done, without a result
		return nil
	case first[0] == 0xfb: // LOAD DATA LOCAL: the server asks for a file of this host
		return malformed(first)
	}
	count, _, err := m.integer()
	if err != nil || count == 0 || count > maxColumns {
		return packetError(err)
	}
	names, err := m.columns(count)
	if err != nil {
		return err
	}
	kept := make([]bool, len(names))
	for i, name := range names {
		kept[i] = keep(i, name)
	}
	for {
		if err := m.next(); err != nil {
			return err
		}
		if ended, err := m.isEnd(); ended || err != nil {
			return err
		}
		r, err := m.row(names, kept)
		if err != nil {
			return packetError(err)
		}
		each(r)
	}
}

// packetError returns err, or an error that says that a packet is malformed.
func packetError(err error) error {
	if err == nil || err == errMalformed {
		return malformed(nil)
	}
	return err
}

// columns reads the descriptions of columns and returns their names in lower case.
func (m *mysqlPackets) columns(count int) ([]string, error) {
	names := make([]string, count)
	for i := range names {
		if err := m.next(); err != nil {
			return nil, err
		}
		// catalog, schema, table, original table, name
		for range 5 {
			text, _, err := m.text(maxName)
			if err != nil {
				return nil, packetError(err)
			}
			names[i] = strings.ToLower(text)
		}
	}
	if err := m.next(); err != nil {
		return nil, err
	}
	ended, err := m.isEnd()
	if err == nil && !ended {
		err = malformed(nil)
	}
	return names, err
}

// row reads the current packet as a row.
func (m *mysqlPackets) row(names []string, kept []bool) (row, error) {
	r := row{}
	for i, name := range names {
		limit := 0
		if kept[i] {
			limit = m.maxValue
		}
		value, null, err := m.text(limit)
		if err != nil {
			return nil, err
		}
		if kept[i] && !null {
			r[name] = value
		}
	}
	return r, nil
}

// Commands.
const (
	comQuit  = 1
	comQuery = 3
)
