package topology

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The replies of a Sentinel, as values of package checks: texts with their place in arrays.

// masterReply is the part of the reply to SENTINEL MASTER that a decision uses.
type masterReply struct {
	epoch    uint64
	hasEpoch bool
	badEpoch bool
	field    masterField // whose value follows
}

type masterField uint8

const (
	otherField masterField = iota
	epochField
)

// add takes one text of a reply of names and values in turn.
func (m *masterReply) add(place []int, text []byte) {
	if len(place) != 1 {
		return
	}
	if place[0]%2 == 0 {
		m.field = otherField
		if string(text) == "config-epoch" {
			m.field = epochField
		}
		return
	}
	if m.field == epochField {
		epoch, err := strconv.ParseUint(string(text), 10, 64)
		m.epoch, m.hasEpoch, m.badEpoch = epoch, true, err != nil
	}
}

// configEpoch returns the epoch, or an error if the reply has none.
func (m *masterReply) configEpoch() (uint64, error) {
	if !m.hasEpoch || m.badEpoch {
		return 0, errors.New("SENTINEL MASTER: no config-epoch in the reply")
	}
	return m.epoch, nil
}

// addressReply is the reply to SENTINEL GET-MASTER-ADDR-BY-NAME.
type addressReply struct {
	host, port string
	texts      int
	null       bool
}

// add takes one text of the reply.
func (a *addressReply) add(place []int, text []byte) {
	a.texts++
	switch {
	case len(place) == 0 && text == nil:
		a.null = true
	case len(place) == 1 && place[0] == 0:
		a.host = string(text)
	case len(place) == 1 && place[0] == 1:
		a.port = string(text)
	}
}

// address returns host:port, or an error if the reply is not an address and a port.
func (a *addressReply) address() (string, error) {
	address, err := joinAddress(a.host, a.port)
	if err != nil || a.texts != 2 {
		return "", errors.New("SENTINEL GET-MASTER-ADDR-BY-NAME: the reply is not an address and a port")
	}
	return address, nil
}

// maxHostName is the length of the longest host name.
const maxHostName = 253

// joinAddress returns host:port with a literal IP address in its usual form or a host name in lower case. It returns an
// error if the parts are not of that kind.
func joinAddress(host, port string) (string, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("invalid port")
	}
	port = strconv.FormatUint(n, 10)
	if ip, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(ip.Unmap().String(), port), nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || len(host) > maxHostName || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", errors.New("invalid host")
	}
	return host + ":" + port, nil
}

// replica is a replica of the primary as one Sentinel lists it.
type replica struct {
	address string
	down    string // the flags that take it out of service, such as "s_down, disconnected"; "" = none
}

// replicasReply is the reply to SENTINEL REPLICAS. It keeps MaxMembers replicas.
type replicasReply struct {
	list    []replica
	dropped int // replicas beyond MaxMembers
	invalid int // replicas without a usable address

	row              int // that the next fields belong to, plus one
	name, host, port string
	flags            string
}

// add takes one text of a reply of rows of names and values in turn.
func (r *replicasReply) add(place []int, text []byte) {
	if len(place) != 2 {
		return
	}
	if place[0]+1 != r.row {
		r.endRow()
		r.row = place[0] + 1
	}
	if place[1]%2 == 0 {
		r.name = ""
		switch string(text) {
		case "ip", "port", "flags":
			r.name = string(text)
		}
		return
	}
	switch r.name {
	case "ip":
		r.host = string(text)
	case "port":
		r.port = string(text)
	case "flags":
		r.flags = string(text)
	}
}

// endRow takes the row whose fields have been added. It is called after the reply too.
func (r *replicasReply) endRow() {
	if r.row == 0 {
		return
	}
	address, err := joinAddress(r.host, r.port)
	switch {
	case err != nil:
		r.invalid++
	case len(r.list) >= MaxMembers:
		r.dropped++
	default:
		r.list = append(r.list, replica{address, downFlags(r.flags)})
	}
	r.row, r.host, r.port, r.flags = 0, "", "", ""
}

// downFlags returns the flags of an instance that take it out of service.
func downFlags(flags string) string {
	var down []string
	for flag := range strings.SplitSeq(flags, ",") {
		switch flag {
		case "s_down", "o_down", "disconnected":
			down = append(down, flag)
		}
	}
	return strings.Join(down, ", ")
}

// message is a message of a subscription: what changed, and the words about it.
type message struct {
	kind, channel, text string
}

// add takes one text of the message.
func (m *message) add(place []int, text []byte) {
	if len(place) != 1 {
		return
	}
	switch place[0] {
	case 0:
		m.kind = string(text)
	case 1:
		m.channel = string(text)
	case 2:
		m.text = string(text)
	}
}

// concerns reports whether the message is about a monitored name: "+switch-master NAME …", "-odown master NAME …" or
// "+slave slave ADDRESS IP PORT @ NAME …".
func (m *message) concerns(master string) bool {
	if m.kind != "message" {
		return false
	}
	for word := range strings.FieldsSeq(m.text) {
		if word == master {
			return true
		}
	}
	return false
}

// idLength is the length of the name that a Sentinel gives itself.
const idLength = 40

// validID returns the reply to SENTINEL MYID if it is a Sentinel's name, else "".
func validID(text string) string {
	if len(text) != idLength || strings.Trim(text, "0123456789abcdef") != "" {
		return ""
	}
	return text
}
