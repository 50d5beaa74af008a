package l4

// Messages with descriptors between two processes of this machine, over a unix stream socket (unix(7), SCM_RIGHTS).
// A message is a frame: the length of its body, its kind, how many descriptors come with it, then the body. Nothing that
// the other side says is believed beyond the bounds below.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	frameHeader = 8
	// MaxFrame bounds the body of a frame.
	MaxFrame = 64 << 20
	// MaxDescriptors is how many descriptors a frame may bring: the most that the kernel takes at once (SCM_MAX_FD).
	MaxDescriptors = 253
	// wirePause is how long a sender rests when descriptors in flight, of all processes of this user, are too many
	// (ETOOMANYREFS): those on their way have to be received first.
	wirePause = 2 * time.Millisecond
	wireTries = 2000
)

// Frame is one message. Whoever received it owns its descriptors.
type Frame struct {
	Kind        uint8
	Body        []byte
	Descriptors []int32
}

// Close closes the descriptors of a frame that nobody wants.
func (f *Frame) Close() {
	for _, fd := range f.Descriptors {
		closeFD(fd)
	}
	f.Descriptors = nil
}

// Wire is one end of such a connection. One goroutine at a time may receive; any may send.
type Wire struct {
	conn *net.UnixConn

	sending sync.Mutex
	broken  error // of the first frame that was not sent whole: nothing can follow it. Guarded by sending

	// Of the receiver.
	fds []int32 // arrived, and not yet of a frame
	oob []byte
}

// ErrWire is wrapped by the errors of frames that break the rules.
var ErrWire = errors.New("hand-over: malformed message")

// Gone tells whether an error of a Wire means that its other end is closed: that the other process has ended.
func Gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// NewWire makes a connection: one end for this process, and the other as a file to be given to another process.
func NewWire() (*Wire, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	other := os.NewFile(uintptr(fds[1]), "hand-over")
	w, err := OpenWire(uintptr(fds[0]))
	if err != nil {
		other.Close()
		return nil, nil, err
	}
	return w, other, nil
}

// OpenWire takes over the descriptor of one end.
func OpenWire(fd uintptr) (*Wire, error) {
	unix.CloseOnExec(int(fd))
	f := os.NewFile(fd, "hand-over")
	if f == nil {
		return nil, fmt.Errorf("hand-over: %d is no descriptor", fd)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("hand-over: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("hand-over: %d is no unix socket", fd)
	}
	return &Wire{conn: u, oob: make([]byte, unix.CmsgSpace(4*MaxDescriptors))}, nil
}

// Close closes this end. What was received and belongs to no frame is closed with it.
func (w *Wire) Close() {
	w.conn.Close()
	for _, fd := range w.fds {
		closeFD(fd)
	}
	w.fds = nil
}

// Deadline bounds everything from now on; the zero time is none.
func (w *Wire) Deadline(t time.Time) { w.conn.SetDeadline(t) }

// Send sends a frame. The descriptors stay the caller's, who may close them once Send has returned. After an error
// nothing can be sent any more.
func (w *Wire) Send(kind uint8, body []byte, fds []int32) error {
	if len(body) > MaxFrame || len(fds) > MaxDescriptors {
		return fmt.Errorf("%w: %d bytes with %d descriptors are too many", ErrWire, len(body), len(fds))
	}
	w.sending.Lock()
	defer w.sending.Unlock()
	if w.broken == nil {
		w.broken = w.send(kind, body, fds)
	}
	return w.broken
}

func (w *Wire) send(kind uint8, body []byte, fds []int32) error {
	head := make([]byte, frameHeader, frameHeader+len(body))
	binary.BigEndian.PutUint32(head, uint32(len(body)))
	head[4] = kind
	binary.BigEndian.PutUint16(head[6:], uint16(len(fds)))
	text := append(head, body...)
	var rights []byte
	if len(fds) > 0 {
		list := make([]int, len(fds))
		for i, fd := range fds {
			list[i] = int(fd)
		}
		rights = unix.UnixRights(list...)
	}
	// The descriptors travel with the first byte.
	for tries := 0; ; tries++ {
		n, _, err := w.conn.WriteMsgUnix(text[:min(len(text), 32<<10)], rights, nil)
		if errors.Is(err, syscall.ETOOMANYREFS) && tries < wireTries {
			time.Sleep(wirePause)
			continue
		}
		if err != nil {
			return err
		}
		text, rights = text[n:], nil
		break
	}
	if len(text) == 0 { // to write nothing fails if the other side has read it all, has answered and has gone
		return nil
	}
	_, err := w.conn.Write(text)
	return err
}

// Receive waits for a frame. io.EOF is the end of the other side, between two frames.
func (w *Wire) Receive() (Frame, error) {
	var head [frameHeader]byte
	if err := w.read(head[:]); err != nil {
		return Frame{}, err
	}
	size, count := binary.BigEndian.Uint32(head[:]), int(binary.BigEndian.Uint16(head[6:]))
	if size > MaxFrame || count > MaxDescriptors || head[5] != 0 {
		return Frame{}, fmt.Errorf("%w: a header of % x", ErrWire, head)
	}
	f := Frame{Kind: head[4]}
	if count > len(w.fds) { // they come with the first byte
		return f, fmt.Errorf("%w: %d descriptors announced, %d received", ErrWire, count, len(w.fds))
	}
	f.Descriptors, w.fds = append([]int32(nil), w.fds[:count]...), w.fds[count:]
	for left := int(size); left > 0; { // grows with what arrives, not with what was announced
		n := min(left, 64<<10)
		from := len(f.Body)
		f.Body = append(f.Body, make([]byte, n)...)
		if err := w.read(f.Body[from:]); err != nil {
			f.Close()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
		left -= n
	}
	return f, nil
}

// receiveReplies fills p, and keeps the descriptors that come along.
func (w *Wire) read(p []byte) error {
	for done := 0; done < len(p); {
		n, oobn, flags, _, err := w.conn.ReadMsgUnix(p[done:], w.oob)
		if oobn > 0 {
			fds, bad := rightsOf(w.oob[:oobn])
			w.fds = append(w.fds, fds...)
			if bad != nil {
				return bad
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if flags&unix.MSG_CTRUNC != 0 {
			return fmt.Errorf("hand-over: %w: descriptors were lost", syscall.EMFILE)
		}
		if n == 0 {
			if done > 0 {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		done += n
	}
	return nil
}

func rightsOf(oob []byte) ([]int32, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWire, err)
	}
	var fds []int32
	for i := range messages {
		list, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, fmt.Errorf("%w: %w", ErrWire, err)
		}
		for _, fd := range list {
			fds = append(fds, int32(fd))
		}
	}
	return fds, nil
}

// monotonic is the time on the kernel's monotonic clock, which all processes share.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Anchor is where the plane's clock starts, on the kernel's monotonic clock. A plane that is opened with the Origin of an
// Anchor has the same clock, in another process too.
func (p *Plane) Anchor() time.Duration { return monotonic() - p.Now() }

// Origin is a time for Options.Origin.
func Origin(anchor time.Duration) time.Time { return time.Now().Add(anchor - monotonic()) }

// DescriptorOf is the number of a file's descriptor, which stays as it is: Fd would make it block, in every process that
// has it.
func DescriptorOf(f syscall.Conn) (int32, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	number := int32(-1)
	err = raw.Control(func(fd uintptr) { number = int32(fd) })
	return number, err
}
