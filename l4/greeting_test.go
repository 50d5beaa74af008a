package l4

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mysqlError returns an ERR packet.
func mysqlErrorPacket(code uint16, text string) string {
	body := string(binary.LittleEndian.AppendUint16([]byte{mysqlError}, code)) + text
	return string([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), 0}) + body
}

func TestMySQLGreetings(t *testing.T) {
	full := mysqlErrorPacket(1040, "Too many connections")
	for name, test := range map[string]struct {
		bytes string
		ended bool
		want  greetingVerdict
		text  string
		size  int
	}{
		"handshake":                       {"\x4a\x00\x00\x00\x0a11.4.2-MariaDB\x00", false, greetingServes, "", 0},
		"nothing yet":                     {"", false, greetingIncomplete, "", 0},
		"a part of the header":            {"\x4a\x00", false, greetingIncomplete, "", 0},
		"the header":                      {"\x4a\x00\x00\x00", false, greetingIncomplete, "", 0},
		"a part of the header, then end":  {"\x4a\x00", true, greetingServes, "", 0},
		"too many connections":            {full, false, greetingRefuses, "MySQL error 1040", len(full)},
		"too many connections and more":   {full + full, false, greetingRefuses, "MySQL error 1040", len(full)},
		"without the last byte":           {full[:len(full)-1], false, greetingIncomplete, "", 0},
		"without the last byte, then end": {full[:len(full)-1], true, greetingRefuses, "MySQL error 1040", len(full) - 1},
		"up to the code":                  {full[:6], false, greetingIncomplete, "", 0},
		"up to the code, then end":        {full[:6], true, greetingServes, "", 0},
		"shutdown":                        {mysqlErrorPacket(1053, ""), false, greetingRefuses, "MySQL error 1053", 7},
		"blocked":                         {mysqlErrorPacket(1129, "x"), false, greetingRefuses, "MySQL error 1129", 8},
		"not allowed":                     {mysqlErrorPacket(1130, "x"), false, greetingRefuses, "MySQL error 1130", 8},
		"killed":                          {mysqlErrorPacket(1927, "x"), false, greetingRefuses, "MySQL error 1927", 8},
		"another error":                   {mysqlErrorPacket(1045, "Access denied"), false, greetingServes, "", 0},
		"an error without a code":         {"\x01\x00\x00\x00\xff", false, greetingServes, "", 0},
		"an error of 16 MB":               {"\xff\xff\xff\x00\xff\x10\x04", false, greetingServes, "", 0},
		"another protocol":                {"HTTP/1.1 400 Bad Request", false, greetingServes, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, r := parseMySQLGreeting([]byte(test.bytes), test.ended)
			require.Equal(t, test.want, verdict)
			require.Equal(t, test.text, r.text)
			require.Equal(t, test.size, r.size)
			require.Equal(t, verdict == greetingRefuses && test.text != "MySQL error 1040", r.counts)
		})
	}
}

func TestRedisGreetings(t *testing.T) {
	const full, denied = "-ERR max number of clients reached\r\n", "-DENIED Redis is running in protected mode\r\n"
	for name, test := range map[string]struct {
		bytes  string
		ended  bool
		want   greetingVerdict
		size   int
		counts bool
	}{
		"pong":                              {"+PONG\r\n", false, greetingServes, 0, false},
		"an error":                          {"-ERR unknown command\r\n", false, greetingServes, 0, false},
		"an error of another kind":          {"-NOAUTH Authentication required.\r\n", false, greetingServes, 0, false},
		"nothing yet":                       {"", false, greetingIncomplete, 0, false},
		"a minus":                           {"-", false, greetingIncomplete, 0, false},
		"a minus, then end":                 {"-", true, greetingServes, 0, false},
		"full":                              {full, false, greetingRefuses, len(full), false},
		"full, and more":                    {full + "+OK\r\n", false, greetingRefuses, len(full), false},
		"full, with cluster connections":    {"-ERR max number of clients + cluster connections reached\r\n", false, greetingRefuses, 58, false},
		"full, up to the line's end":        {full[:len(full)-1], false, greetingIncomplete, 0, false},
		"full, without the line's end":      {full[:30], true, greetingRefuses, 30, false},
		"full, with an endless line":        {full[:30] + strings.Repeat("x", greetingWindow), false, greetingRefuses, 30 + greetingWindow, false},
		"protected mode":                    {denied, false, greetingRefuses, len(denied), true},
		"protected mode, in part":           {denied[:5], false, greetingIncomplete, 0, false},
		"a TLS handshake":                   {"\x16\x03\x03\x00\x7a\x02", false, greetingServes, 0, false},
		"a minus that becomes another word": {"-DENY", false, greetingServes, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, r := parseRedisGreeting([]byte(test.bytes), test.ended)
			require.Equal(t, test.want, verdict)
			require.Equal(t, test.size, r.size)
			require.Equal(t, test.counts, r.counts)
		})
	}
}

// More bytes never change a verdict, and a refusal is within the bytes.
func FuzzGreeting(f *testing.F) {
	for _, text := range []string{mysqlErrorPacket(1040, "Too many connections"), "\x4a\x00\x00\x00\x0a11.4", "-ERR max number of clients reached\r\n", "-DENIED x\r\n", "+PONG\r\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		p = p[:min(len(p), greetingWindow)]
		for _, g := range []Greeting{GreetingMySQL, GreetingRedis} {
			before := greetingIncomplete
			for n := range len(p) + 1 {
				verdict, r := g.parse(p[:n], false)
				if before != greetingIncomplete {
					require.Equal(t, before, verdict)
				}
				before = verdict
				if verdict == greetingRefuses {
					require.Positive(t, r.size)
					require.LessOrEqual(t, r.size, n)
				}
				ended, r := g.parse(p[:n], true)
				require.NotEqual(t, greetingIncomplete, ended)
				require.LessOrEqual(t, r.size, n)
			}
		}
	})
}
