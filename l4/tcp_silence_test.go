package l4

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A host is silent if it has sent nothing for the whole timeout while bytes were on their way to it. One that answers,
// even with a closed window and rarely, is not.
func TestSilence(t *testing.T) {
	const origin = time.Hour
	type look struct {
		at, activeAt    time.Duration // after origin
		unacked, probes int
		segments        int
		lastAck         time.Duration // before the look
		silent          bool
	}
	s := time.Second
	for name, looks := range map[string][]look{
		"vanished": {
			{at: 15 * s, unacked: 3, segments: 10, lastAck: 15 * s},
			{at: 30 * s, unacked: 3, segments: 10, lastAck: 30 * s},
			{at: 59 * s, unacked: 3, segments: 10, lastAck: 59 * s},
			{at: 60 * s, unacked: 3, segments: 10, lastAck: 60 * s, silent: true},
		},
		"first bytes after hours": {
			{at: 15 * s, unacked: 1, segments: 10, lastAck: 2 * time.Hour},
			{at: 59 * s, unacked: 1, segments: 10, lastAck: 2 * time.Hour},
			{at: 60 * s, unacked: 1, segments: 10, lastAck: 2 * time.Hour, silent: true},
		},
		"more bytes meanwhile": {
			{at: 15 * s, activeAt: 14 * s, unacked: 1, segments: 10, lastAck: time.Hour},
			{at: 73 * s, activeAt: 72 * s, unacked: 50, segments: 10, lastAck: time.Hour},
			{at: 74 * s, activeAt: 73 * s, unacked: 51, segments: 10, lastAck: time.Hour, silent: true},
		},
		"answers in between": {
			{at: 15 * s, unacked: 3, segments: 10, lastAck: 15 * s},
			{at: 60 * s, unacked: 3, segments: 11, lastAck: 5 * s},
			{at: 114 * s, unacked: 3, segments: 11, lastAck: 59 * s},
			{at: 115 * s, unacked: 3, segments: 11, lastAck: 60 * s, silent: true},
		},
		"acknowledged, then bytes again": {
			{at: 15 * s, unacked: 3, segments: 10, lastAck: 15 * s},
			{at: 60 * s, segments: 12, lastAck: s},
			{at: 75 * s, activeAt: 70 * s, unacked: 3, segments: 12, lastAck: 16 * s},
			{at: 129 * s, activeAt: 70 * s, unacked: 3, segments: 12, lastAck: 70 * s},
			{at: 130 * s, activeAt: 70 * s, unacked: 3, segments: 12, lastAck: 71 * s, silent: true},
		},
		"does not read, answers probes two minutes apart": {
			{at: 120 * s, segments: 20, lastAck: 119 * s},
			{at: 121 * s, segments: 20, probes: 1, lastAck: 120 * s},
			{at: 240 * s, segments: 21, lastAck: 119 * s},
		},
		"did not read, then vanished": {
			{at: 120 * s, segments: 20, lastAck: 119 * s},
			{at: 121 * s, segments: 20, probes: 1, lastAck: 120 * s},
			{at: 241 * s, segments: 20, probes: 2, lastAck: 240 * s, silent: true},
		},
	} {
		var x silence
		for i, k := range looks {
			info := unix.TCPInfo{Unacked: uint32(k.unacked), Probes: uint8(k.probes), Segs_in: uint32(k.segments), Last_ack_recv: uint32(k.lastAck / time.Millisecond)}
			require.Equal(t, k.silent, x.update(origin+k.at, origin+k.activeAt, &info), "%s, look %d", name, i)
		}
	}
}
