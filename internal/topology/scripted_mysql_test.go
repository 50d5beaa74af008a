package topology

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/internal/nettest"
)

// scriptedMySQL is a server that answers queries with scripted variables, in the formats that MySQL 8 and MariaDB document.
// It accepts every login.
type scriptedMySQL struct {
	*nettest.Host

	mu          sync.Mutex
	version     string
	variables   map[string]string   // of SHOW VARIABLES, SHOW STATUS and SELECT @@GLOBAL.x
	replication []map[string]string // rows of SHOW REPLICA STATUS
	hung        bool                // queries are not answered
	full        bool                // new connections are rejected for want of room
	refused     bool                // connections are closed
	logins      int
	queries     []string
}

// startScriptedMySQL starts a writable server of MySQL 8 with a set of GTIDs.
func startScriptedMySQL(t *testing.T, uuid, executed string) *scriptedMySQL {
	t.Helper()
	s := &scriptedMySQL{version: "8.0.36", variables: map[string]string{
		"read_only": "OFF", "super_read_only": "OFF", "innodb_read_only": "OFF", "offline_mode": "OFF", "server_id": "1", "server_uuid": uuid,
		"gtid_executed": executed,
	}}
	s.Host = nettest.Start(t, s.serve)
	return s
}

// set changes variables: name, value, name, value.
func (s *scriptedMySQL) set(pairs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		s.variables[pairs[i]] = pairs[i+1]
	}
}

// change changes the script.
func (s *scriptedMySQL) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *scriptedMySQL) serve(_ context.Context, c *net.TCPConn) {
	s.mu.Lock()
	full, refused, version := s.full, s.refused, s.version
	s.logins++
	s.mu.Unlock()
	switch {
	case refused:
		return
	case full:
		_, _ = c.Write(mysqlPacket(0, append(binary.LittleEndian.AppendUint16([]byte{0xff}, 1040), "#08004Too many connections"...)))
		return
	}
	greeting := append([]byte{10}, version+"\x00"...)
	greeting = append(greeting, 1, 0, 0, 0)
	greeting = append(greeting, "01234567\x00"...)
	const capabilities = 1<<0 | 1<<3 | 1<<9 | 1<<13 | 1<<15 | 1<<19
	greeting = binary.LittleEndian.AppendUint16(greeting, uint16(capabilities&0xffff))
	greeting = append(greeting, 45, 2, 0)
	greeting = binary.LittleEndian.AppendUint16(greeting, uint16(capabilities>>16))
	greeting = append(greeting, 21)
	greeting = append(greeting, make([]byte, 10)...)
	greeting = append(greeting, "890123456789\x00mysql_native_password\x00"...)
	if _, err := c.Write(mysqlPacket(0, greeting)); err != nil {
		return
	}
	if _, err := readMySQLPacket(c); err != nil {
		return
	}
	_, err := c.Write(mysqlPacket(2, []byte{0, 0, 0, 2, 0, 0, 0}))
	for err == nil {
		var command []byte
		if command, err = readMySQLPacket(c); err != nil || len(command) == 0 || command[0] != 3 {
			return
		}
		s.mu.Lock()
		query, hung := string(command[1:]), s.hung
		s.queries = append(s.queries, query)
		reply := s.reply(query)
		s.mu.Unlock()
		if hung {
			_, _ = io.Copy(io.Discard, c)
			return
		}
		_, err = c.Write(reply)
	}
}

// reply returns the packets of the result of a query.
func (s *scriptedMySQL) reply(query string) []byte {
	switch {
	case strings.HasPrefix(query, "SHOW GLOBAL"):
		var rows [][]string
		for _, m := range regexp.MustCompile(`'(\w+)'`).FindAllStringSubmatch(query, -1) {
			if v, found := s.variables[m[1]]; found {
				rows = append(rows, []string{m[1], v})
			}
		}
		return mysqlResult([]string{"Variable_name", "Value"}, rows...)
	case strings.HasPrefix(query, "SELECT @@"):
		var names, row []string
		for _, m := range regexp.MustCompile(`@@GLOBAL\.(\w+)`).FindAllStringSubmatch(query, -1) {
			v, found := s.variables[m[1]]
			if !found {
				return mysqlPacket(1, append(binary.LittleEndian.AppendUint16([]byte{0xff}, 1193), "#HY000Unknown system variable"...))
			}
			names, row = append(names, m[1]), append(row, v)
		}
		return mysqlResult(names, row)
	case strings.HasPrefix(query, "SHOW"):
		if len(s.replication) == 0 {
			return mysqlResult([]string{"Replica_IO_State"})
		}
		var names []string
		for name := range s.replication[0] {
			names = append(names, name)
		}
		slices.Sort(names)
		var rows [][]string
		for _, r := range s.replication {
			var row []string
			for _, name := range names {
				row = append(row, r[name])
			}
			rows = append(rows, row)
		}
		return mysqlResult(names, rows...)
	}
	return mysqlPacket(1, []byte{0, 0, 0, 2, 0, 0, 0})
}

func mysqlPacket(sequence byte, payload []byte) []byte {
	return append([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), sequence}, payload...)
}

func readMySQLPacket(r io.Reader) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	p := make([]byte, int(header[0])|int(header[1])<<8|int(header[2])<<16)
	_, err := io.ReadFull(r, p)
	return p, err
}

// mysqlResult returns the packets of a text result set.
func mysqlResult(names []string, rows ...[]string) []byte {
	var out bytes.Buffer
	sequence := byte(0)
	send := func(p []byte) {
		sequence++
		out.Write(mysqlPacket(sequence, p))
	}
	text := func(p []byte, s string) []byte {
		switch {
		case len(s) < 251:
			p = append(p, byte(len(s)))
		case len(s) < 1<<16:
			p = append(p, 0xfc, byte(len(s)), byte(len(s)>>8))
		default:
			p = append(p, 0xfd, byte(len(s)), byte(len(s)>>8), byte(len(s)>>16))
		}
		return append(p, s...)
	}
	end := []byte{0xfe, 0, 0, 2, 0}
	if len(names) < 251 {
		send([]byte{byte(len(names))})
	} else {
		send([]byte{0xfc, byte(len(names)), byte(len(names) >> 8)})
	}
	for _, name := range names {
		p := text(nil, "def")
		p = append(p, 0, 0, 0)
		p = text(p, name)
		p = text(p, name)
		send(append(p, 0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0))
	}
	send(end)
	for _, row := range rows {
		var p []byte
		for _, v := range row {
			p = text(p, v)
		}
		send(p)
	}
	send(end)
	return out.Bytes()
}
