package checks

import (
	"bytes"
	"encoding/binary"
)

// refusesForRoom reports whether a reply begins with the error by which a server of a well-known protocol refuses a
// connection because it has too many. A tcp check does not know the protocol of its server.
func refusesForRoom(reply []byte) bool {
	switch {
	case bytes.HasPrefix(reply, []byte("-"+maxClientsText)), // Redis
		bytes.HasPrefix(reply, []byte("ERROR Too many open connections")): // memcached
		return true
	case len(reply) >= 7 && reply[3] == 0 && reply[4] == 0xff: // MySQL: an error packet instead of a greeting
		return isFullCode(binary.LittleEndian.Uint16(reply[5:]))
	case len(reply) > 5 && reply[0] == 'E': // PostgreSQL: an ErrorResponse; 53300 is too_many_connections
		return bytes.Contains(reply[5:], []byte("\x00C53300\x00"))
	}
	return false
}
