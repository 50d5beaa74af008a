package topology

import "weir/internal/printable"

// history is what a server has executed, for comparison with another one.
type history struct {
	mysql   mysqlGTIDs
	mariadb *mariadbGTIDs
	text    string // its GTIDs, printable and clipped
	unknown string // why it cannot be compared; "" = it can
}

func mysqlHistory(executed string) history {
	set, err := parseMySQLGTIDs(executed)
	if err != nil {
		return history{unknown: err.Error()}
	}
	return history{mysql: set, text: printable.Clip(executed, printable.MaxLine)}
}

func mariadbHistory(values map[string]string) history {
	current := values["gtid_current_pos"]
	set, err := parseMariaDBGTIDs(current, values["gtid_binlog_pos"], values["gtid_binlog_state"], values["gtid_slave_pos"])
	if err != nil {
		return history{unknown: err.Error()}
	}
	return history{mariadb: &set, text: printable.Clip(current, printable.MaxLine)}
}

// comparable reports whether two histories are of the same kind and known.
func (a history) comparable(b history) bool {
	return a.unknown == "" && b.unknown == "" && (a.mariadb == nil) == (b.mariadb == nil)
}

// includes reports whether a has all of b. They must be comparable.
func (a history) includes(b history) bool {
	if a.mariadb != nil {
		return a.mariadb.includes(*b.mariadb)
	}
	return a.mysql.includes(b.mysql)
}
