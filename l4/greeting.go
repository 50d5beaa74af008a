package l4

// The first bytes of servers that refuse a session after they have accepted its connection. Parsing is pure.

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Greeting is the protocol whose refusals are recognised.
type Greeting uint8

// The protocols.
const (
	NoGreeting Greeting = iota
	GreetingMySQL
	GreetingRedis
)

const (
	// greetingWindow is how many bytes of a server are looked at. Longer refusals are none.
	greetingWindow = 2 << 10

	mysqlHeader = 4 // length in three bytes, sequence number
	mysqlError  = 0xff
)

// greetingVerdict is what the first bytes of a server mean.
type greetingVerdict uint8

const (
	greetingIncomplete greetingVerdict = iota // more bytes are needed
	greetingServes                            // anything but a refusal: it is forwarded
	greetingRefuses
)

// refusal is a refusal: its length, what it says, and whether it counts as a failure of the server. One for want of room
// does not.
type refusal struct {
	size   int
	text   string
	counts bool
}

// parse returns what the first bytes of a server mean. ended reports that no more follow.
func (g Greeting) parse(p []byte, ended bool) (greetingVerdict, refusal) {
	if g == GreetingMySQL {
		return parseMySQLGreeting(p, ended)
	}
	return parseRedisGreeting(p, ended)
}

// parseMySQLGreeting parses the first packet of a MySQL or MariaDB server: an initial handshake, or an ERR packet with 0xff, a
// code of two bytes and a message. Source: "MySQL Client/Server Protocol", Connection Phase.
func parseMySQLGreeting(p []byte, ended bool) (greetingVerdict, refusal) {
	if len(p) <= mysqlHeader {
		return incompleteUnless(ended), refusal{}
	}
	size := mysqlHeader + int(p[0]) + int(p[1])<<8 + int(p[2])<<16
	if p[mysqlHeader] != mysqlError || size < mysqlHeader+3 || size > greetingWindow {
		return greetingServes, refusal{}
	}
	if len(p) < min(size, mysqlHeader+3) || len(p) < size && !ended {
		return incompleteUnless(ended), refusal{}
	}
	code := binary.LittleEndian.Uint16(p[mysqlHeader+1:])
	counts := true
	switch code {
	case 1040: // too many connections: another session may find room
		counts = false
	case 1053, // shutdown in progress
		1129, // host blocked
		1130, // host not allowed
		1927: // connection killed
	default:
		return greetingServes, refusal{}
	}
	return greetingRefuses, refusal{min(size, len(p)), fmt.Sprintf("MySQL error %d", code), counts}
}

// redisRefusals begin the lines with which Redis and Valkey refuse a client: maxclients is reached, with or without cluster
// connections, or protected mode.
var redisRefusals = [...]struct {
	text   []byte
	counts bool
}{
	{[]byte("-ERR max number of clients"), false},
	{[]byte("-DENIED"), true},
}

// parseRedisGreeting parses the first line of a Redis server, sent before it has read a command.
func parseRedisGreeting(p []byte, ended bool) (greetingVerdict, refusal) {
	for _, r := range &redisRefusals {
		n := min(len(p), len(r.text))
		if !bytes.Equal(p[:n], r.text[:n]) {
			continue
		}
		line := bytes.IndexByte(p, '\n') + 1
		switch {
		case n < len(r.text):
			return incompleteUnless(ended), refusal{}
		case line == 0 && !ended && len(p) < greetingWindow:
			return greetingIncomplete, refusal{}
		case line == 0:
			line = len(p)
		}
		return greetingRefuses, refusal{line, string(bytes.TrimPrefix(r.text, []byte("-"))), r.counts}
	}
	return greetingServes, refusal{}
}

func incompleteUnless(ended bool) greetingVerdict {
	if ended {
		return greetingServes
	}
	return greetingIncomplete
}
