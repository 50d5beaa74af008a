package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// segmentJoiner collects datagrams for one socket. Those of one size for one destination are sent as one, and the kernel
// splits them (UDP_SEGMENT, udp(7)).
type segmentJoiner struct {
	batch *batch // its places hold no bytes of their own
	iovs  []unix.Iovec
	used  int // places, …
	iovsN int // … and iovs
	size  int // of the datagrams in the last place
	total int // bytes there
}

const (
	joinedMost  = 64     // datagrams in a place: what every kernel takes
	joinedBytes = 65_000 // …
)

func newJoiner() *segmentJoiner {
	return &segmentJoiner{batch: newBatch(forwardPlaces, 0), iovs: make([]unix.Iovec, forwardPlaces)}
}

// add adds a datagram, whose memory must stay valid until it is sent. to is the destination, nil for a connected
// socket; follows reports that the destination is that of the previous datagram.
func (j *segmentJoiner) add(data []byte, to *unix.RawSockaddrInet4, follows bool) {
	v := &j.iovs[j.iovsN]
	v.Base = unsafe.SliceData(data)
	v.SetLen(len(data))
	j.iovsN++
	if last := j.used - 1; follows && j.size == len(data) && j.total+j.size <= joinedBytes && j.total/j.size < joinedMost {
		h := &j.batch.msgs[last].hdr
		h.Control = (*byte)(unsafe.Pointer(&j.batch.controls[last]))
		h.SetIovlen(int(h.Iovlen) + 1)
		j.batch.segment(last, j.size)
		j.total += j.size
		return
	}
	h := unix.Msghdr{Iov: v}
	h.SetIovlen(1)
	if to != nil {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(to)), unix.SizeofSockaddrInet4
	}
	j.batch.msgs[j.used].hdr = h
	j.used++
	j.size, j.total = len(data), len(data)
}

func (j *segmentJoiner) send(s datagramSocket) error {
	err := j.batch.send(s, j.used, unix.MSG_DONTWAIT)
	j.used, j.iovsN = 0, 0
	return err
}
