package l4

// The last unanswered datagram of each flow, kept to be sent again if its server refuses. The total is bounded: the
// oldest are dropped first and are then not sent again.

const maxKeptBytes = 4 << 20 // of one loop

// The sizes of the buffers. Most datagrams fit the first, and all that fit an Ethernet frame the
// second.
var keptSizes = [...]int{256, 2048, bufferSize}

var keptSpare = [...]int{256, 128, 4} // buffers of each size kept for reuse

type keptDatagram struct {
	flow         *flow
	older, newer *keptDatagram
	class        int
	size         int
	data         []byte
}

type keptDatagrams struct {
	oldest, newest *keptDatagram
	held           int // bytes
	free           [len(keptSizes)][]*keptDatagram
}

// keep stores a datagram in place of the one kept for the flow.
func (k *keptDatagrams) keep(f *flow, data []byte) {
	class := 0
	for len(data) > keptSizes[class] {
		class++
	}
	d := f.kept
	if d != nil && d.class != class {
		k.drop(f)
		d = nil
	}
	if d == nil {
		for k.held+keptSizes[class] > maxKeptBytes {
			k.drop(k.oldest.flow)
		}
		d = k.get(class)
		d.flow, f.kept = f, d
	} else {
		k.unlink(d)
	}
	d.older, d.newer = k.newest, nil
	if k.newest == nil {
		k.oldest = d
	} else {
		k.newest.newer = d
	}
	k.newest = d
	d.size = copy(d.data, data)
}

func (k *keptDatagrams) get(class int) *keptDatagram {
	k.held += keptSizes[class]
	if n := len(k.free[class]); n > 0 {
		d := k.free[class][n-1]
		k.free[class] = k.free[class][:n-1]
		return d
	}
	return &keptDatagram{class: class, data: make([]byte, keptSizes[class])}
}

// drop drops the datagram kept for a flow.
func (k *keptDatagrams) drop(f *flow) {
	d := f.kept
	if d == nil {
		return
	}
	f.kept, d.flow = nil, nil
	k.unlink(d)
	k.held -= keptSizes[d.class]
	if len(k.free[d.class]) < keptSpare[d.class] {
		k.free[d.class] = append(k.free[d.class], d)
	}
}

func (k *keptDatagrams) unlink(d *keptDatagram) {
	if d.older == nil {
		k.oldest = d.newer
	} else {
		d.older.newer = d.newer
	}
	if d.newer == nil {
		k.newest = d.older
	} else {
		d.newer.older = d.older
	}
	d.older, d.newer = nil, nil
}
