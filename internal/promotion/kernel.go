package promotion

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the object
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

//go:embed forward_bpfel.o
var object []byte

// Kernel is the kernel's part: the loaded program, its tables and the interfaces that it is attached to. Its methods may be
// called by any goroutine; those that take a Number may be called after Close and do nothing then.
type Kernel struct {
	keys    *ebpf.Map
	table   *ebpf.Map // of the records
	program *ebpf.Program
	memory  []byte   // the records, shared with the kernel
	records []record // of memory

	attachMu sync.Mutex
	attached map[string]attachment // by interface

	mu     sync.Mutex
	ports  map[uint32]bool // indexes of the interfaces with the program
	routes *netlink.Handle // to ask for routes; nil after Close
	keysOf [][2]key        // of the records that were ever in use
	legsOf [][2]Leg        // likewise
	freed  []free          // records that were used, in the order in which they became free
	closed bool
}

// attachment is the program at an interface.
type attachment struct {
	index int
	link  link.Link
}

// free is a record without a session.
type free struct {
	number int
	at     time.Time
}

// MaxSessions is the most sessions that a Kernel has room for: each takes 152 bytes from the start on.
const MaxSessions = 1 << 18

// Open loads the program with room for a number of sessions, at most MaxSessions. It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON. The
// error says what is missing.
func Open(sessions int) (*Kernel, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	sessions = min(sessions, MaxSessions)
	spec.Maps["keys"].MaxEntries = uint32(2 * sessions)
	spec.Maps["sessions"].MaxEntries = uint32(sessions)
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, missing(err)
	}
	defer collection.Close()
	return newKernel(collection.DetachMap("keys"), collection.DetachMap("sessions"), collection.DetachProgram("forward"))
}

// newKernel returns a Kernel with a loaded program. After an error they are closed.
func newKernel(keys, table *ebpf.Map, program *ebpf.Program) (*Kernel, error) {
	k := &Kernel{keys: keys, table: table, program: program, attached: map[string]attachment{}, ports: map[uint32]bool{}}
	sessions := int(table.MaxEntries())
	// The kernel rounds a value up to 8 bytes, which a record is.
	var err error
	k.memory, err = unix.Mmap(table.FD(), 0, sessions*int(unsafe.Sizeof(record{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		k.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err != nil {
		k.Close()
		return nil, fmt.Errorf("cannot map the records: %w", err)
	}
	k.records = unsafe.Slice((*record)(unsafe.Pointer(&k.memory[0])), sessions)
	return k, nil
}

// Version identifies the program and the layout of its tables.
func Version() string {
	sum := sha256.Sum256(object)
	return hex.EncodeToString(sum[:16])
}

// Attach attaches the program to the ingress of interfaces, and detaches it from others. An interface that was replaced by
// another one of the same name gets it again. Those that fail are in the error; the others are attached.
func (k *Kernel) Attach(interfaces []string) error {
	k.attachMu.Lock()
	defer k.attachMu.Unlock()
	var failed []error
	ports := map[uint32]bool{}
	for name, a := range k.attached {
		if l, err := netlink.LinkByName(name); !slices.Contains(interfaces, name) || err == nil && l.Attrs().Index != a.index || isGone(err) {
			a.link.Close()
			delete(k.attached, name)
		}
	}
	for _, name := range interfaces {
		a, ok := k.attached[name]
		if !ok {
			var err error
			if a, err = k.attach(name); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", name, err))
				continue
			}
			k.attached[name] = a
		}
		ports[uint32(a.index)] = true
	}
	k.mu.Lock()
	k.ports = ports
	k.mu.Unlock()
	return errors.Join(failed...)
}

func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound)
}

// attach attaches the program to one interface. attachMu is held.
func (k *Kernel) attach(name string) (attachment, error) {
	if k.program == nil {
		return attachment{}, errors.New("closed")
	}
	i, err := netlink.LinkByName(name)
	switch {
	case isGone(err):
		return attachment{}, errors.New("this host has no such network interface")
	case err != nil:
		return attachment{}, err
	case i.Attrs().EncapType != "ether" && i.Attrs().EncapType != "loopback":
		return attachment{}, fmt.Errorf("packets of a network interface of type %s have no Ethernet header", i.Attrs().EncapType)
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: i.Attrs().Index, Program: k.program, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
	if err != nil {
		return attachment{}, missing(err)
	}
	return attachment{i.Attrs().Index, l}, nil
}

// Attached returns the interfaces with the program, sorted.
func (k *Kernel) Attached() []string {
	k.attachMu.Lock()
	defer k.attachMu.Unlock()
	return slices.Sorted(maps.Keys(k.attached))
}

// Close detaches the program, unless another process has it too, and releases the tables. Sessions that are still promoted are
// forwarded no more.
func (k *Kernel) Close() {
	k.attachMu.Lock()
	defer k.attachMu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.closed = true
	for _, a := range k.attached {
		a.link.Close()
	}
	clear(k.attached)
	k.keys.Close()
	k.table.Close()
	k.program.Close()
	k.program, k.records = nil, nil
	if k.routes != nil {
		k.routes.Close()
	}
	if k.memory != nil {
		_ = unix.Munmap(k.memory)
	}
}
