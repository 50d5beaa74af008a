package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	headerSize = 8
	// maxBody bounds the body of a message, in bytes.
	maxBody = 64 << 20
	// MaxDescriptors is the most descriptors in one message: SCM_MAX_FD of the kernel.
	MaxDescriptors = 253
	// sendRetryDelay is the wait after ETOOMANYREFS: too many descriptors of this user are in flight, in all processes,
	// until some are received.
	sendRetryDelay = 2 * time.Millisecond
	sendRetries    = 2000
)

// Message is one message with its descriptors, which belong to the receiver.
type Message struct {
	Kind        uint8
	Body        []byte
	Descriptors []int32
}

// Close closes the descriptors of a message.
func (m *Message) Close() {
	closeAll(m.Descriptors)
	m.Descriptors = nil
}

func closeAll(fds []int32) {
	for _, fd := range fds {
		unix.Close(int(fd))
	}
}

// Conn is one end of a unix stream socket that carries messages with descriptors (unix(7), SCM_RIGHTS). A message is an
// 8-byte header (length of the body, kind, a zero byte, number of descriptors; big endian), then the body. The
// descriptors travel with the first byte. Only one goroutine at a time may receive; any may send.
type Conn struct {
	conn *net.UnixConn

	sendMu sync.Mutex
	broken error // of the first message that was not sent completely: no other can follow. Guarded by sendMu

	interrupted atomic.Bool

	// Used by the receiver only.
	fds []int32 // received, but their message is not read yet
	oob []byte
}

// ErrMalformed is wrapped by the errors of messages that break the protocol.
var ErrMalformed = errors.New("handover: malformed message")

// Closed reports whether an error of a Conn means that the other end is closed: the other process has ended.
func Closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// NewConn returns a connection: one end for this process, and the other as a file for another process.
func NewConn() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	other := os.NewFile(uintptr(fds[1]), "handover")
	c, err := OpenConn(uintptr(fds[0]))
	if err != nil {
		other.Close()
		return nil, nil, err
	}
	return c, other, nil
}

// OpenConn takes ownership of a descriptor that is one end of a connection.
func OpenConn(fd uintptr) (*Conn, error) {
	unix.CloseOnExec(int(fd))
	f := os.NewFile(fd, "handover")
	if f == nil {
		return nil, fmt.Errorf("handover: %d is not a descriptor", fd)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("handover: descriptor %d is not a unix socket", fd)
	}
	return &Conn{conn: u, oob: make([]byte, unix.CmsgSpace(4*MaxDescriptors))}, nil
}

// Close closes this end, and descriptors that were received without their message.
func (c *Conn) Close() {
	c.conn.Close()
	closeAll(c.fds)
	c.fds = nil
}

// SetDeadline bounds all later sends and receives; the zero time removes the bound. What has arrived by the deadline is received
// after it too: this process may not have run in time to read it.
func (c *Conn) SetDeadline(t time.Time) { c.conn.SetDeadline(t) }

// Interrupt makes the current and all later calls return.
func (c *Conn) Interrupt() {
	c.interrupted.Store(true)
	c.conn.SetDeadline(time.Unix(1, 0))
}

// lateRead is the time to read what had arrived by a deadline.
const lateRead = time.Second

// hasUnread reports whether bytes have arrived that were not read, unless the connection is interrupted.
func (c *Conn) hasUnread() (unread bool) {
	socket, err := c.conn.SyscallConn()
	if err != nil || c.interrupted.Load() {
		return false
	}
	err = socket.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		unread = err == nil && n > 0
	})
	return err == nil && unread
}

// Send sends a message. The descriptors stay the caller's, which may close them once Send has returned. After an error
// every later Send fails.
func (c *Conn) Send(kind uint8, body []byte, fds []int32) error {
	if len(body) > maxBody || len(fds) > MaxDescriptors {
		return fmt.Errorf("%w: %d bytes with %d descriptors exceed the limits", ErrMalformed, len(body), len(fds))
	}
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if c.broken == nil {
		c.broken = c.send(kind, body, fds)
	}
	return c.broken
}

func (c *Conn) send(kind uint8, body []byte, fds []int32) error {
	header := make([]byte, headerSize, headerSize+len(body))
	binary.BigEndian.PutUint32(header, uint32(len(body)))
	header[4] = kind
	binary.BigEndian.PutUint16(header[6:], uint16(len(fds)))
	data := append(header, body...)
	var rights []byte
	if len(fds) > 0 {
		list := make([]int, len(fds))
		for i, fd := range fds {
			list[i] = int(fd)
		}
		rights = unix.UnixRights(list...)
	}
	for tries := 0; ; tries++ {
		n, _, err := c.conn.WriteMsgUnix(data[:min(len(data), 32<<10)], rights, nil)
		if errors.Is(err, syscall.ETOOMANYREFS) && tries < sendRetries {
			time.Sleep(sendRetryDelay)
			continue
		}
		if err != nil {
			return err
		}
		data, rights = data[n:], nil
		break
	}
	if len(data) == 0 { // an empty write fails if the other process has read everything, replied and exited
		return nil
	}
	_, err := c.conn.Write(data)
	return err
}

// Receive waits for a message. It returns io.EOF if the other end was closed between two messages.
func (c *Conn) Receive() (Message, error) {
	var header [headerSize]byte
	if err := c.read(header[:]); err != nil {
		return Message{}, err
	}
	size, count := binary.BigEndian.Uint32(header[:]), int(binary.BigEndian.Uint16(header[6:]))
	if size > maxBody || count > MaxDescriptors || header[5] != 0 {
		return Message{}, fmt.Errorf("%w: header % x", ErrMalformed, header)
	}
	m := Message{Kind: header[4]}
	if count > len(c.fds) {
		return m, fmt.Errorf("%w: want %d descriptors, got %d", ErrMalformed, count, len(c.fds))
	}
	m.Descriptors, c.fds = append([]int32(nil), c.fds[:count]...), c.fds[count:]
	for left := int(size); left > 0; { // allocate as bytes arrive, not what the header announces
		n := min(left, 64<<10)
		from := len(m.Body)
		m.Body = append(m.Body, make([]byte, n)...)
		if err := c.read(m.Body[from:]); err != nil {
			m.Close()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Message{}, err
		}
		left -= n
	}
	return m, nil
}

// read fills p and keeps the descriptors that arrive with it.
func (c *Conn) read(p []byte) error {
	for done := 0; done < len(p); {
		n, oobn, flags, _, err := c.conn.ReadMsgUnix(p[done:], c.oob)
		if oobn > 0 {
			fds, parseErr := parseRights(c.oob[:oobn])
			c.fds = append(c.fds, fds...)
			if parseErr != nil {
				return parseErr
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && c.hasUnread() {
			c.conn.SetReadDeadline(time.Now().Add(lateRead))
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if flags&unix.MSG_CTRUNC != 0 {
			return fmt.Errorf("handover: %w: descriptors were lost", syscall.EMFILE)
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

func parseRights(oob []byte) ([]int32, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var fds []int32
	for i := range messages {
		list, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		for _, fd := range list {
			fds = append(fds, int32(fd))
		}
	}
	return fds, nil
}
