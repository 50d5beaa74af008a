package main

// A process that others take for weir must not end at an upgrade: PID 1 of a container, whose end ends the container, and
// the child of a supervisor that ends or restarts with it. It stays after the upgrade, forwards signals to the process
// that serves, reaps orphans, and exits with the exit code of that process.
//
// The processes after an upgrade have the write end of a pipe. Each announces itself to the process that stays once it
// serves, and passes the pipe to the next one. They never wait for their children, so that the process that stays gets the
// exit codes when the parents have ended. The end of the pipe means that no process is left.

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"weir/internal/reaper"
)

// announceEnv holds the descriptor at which a process announces itself to the one that stays.
const announceEnv = "WEIR_ANNOUNCE"

// endingSupervisors are the names (/proc/PID/comm) of programs that end, or restart weir, when their child ends.
var endingSupervisors = []string{
	"tini", "docker-init", "catatonit", "podman-init", "dumb-init", "conmon", "containerd-shim", // of containers
	"runsv", "s6-supervise", "supervise", "supervise-daemo", "supervisord",
}

// staysAfterUpgrade reports whether a process must stay after an upgrade. adopts: the kernel gives orphans to it;
// notified: its service manager accepts another main process (sd_notify MAINPID); parent: the name of its parent.
func staysAfterUpgrade(pid int, adopts, notified bool, parent string) bool {
	return pid == 1 || adopts || !notified && slices.Contains(endingSupervisors, parent)
}

func parentName() string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	return strings.TrimSpace(string(text))
}

// announcer returns the pipe to the process that stays, or nil if there is none.
func announcer() *os.File {
	text, ok := os.LookupEnv(announceEnv)
	if !ok {
		return nil
	}
	os.Unsetenv(announceEnv) // programs of checks and hooks must not inherit it
	fd, err := strconv.Atoi(text)
	var stat syscall.Stat_t
	if err != nil || fd < 3 || syscall.Fstat(fd, &stat) != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil // set by an older version, which did not pass the pipe
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "announce")
}

// announce tells the process that stays that process pid serves now.
func announce(pipe *os.File, pid int) {
	if pipe != nil {
		pipe.Write(binary.BigEndian.AppendUint32(nil, uint32(pid)))
	}
}

// supervisor is the part of a process that stays after an upgrade. Its methods may be called by any goroutine.
type supervisor struct {
	log      *slog.Logger
	children chan os.Signal
	ended    chan struct{} // closed when no process serves any more
	code     int           // exit code of the last one; valid when ended is closed

	mu       sync.Mutex
	pipe     *os.File                   // announcements; nil before an upgrade
	serving  int                        // the process that serves; 0 = this one, or not known now
	exits    map[int]syscall.WaitStatus // of children that ended while serving is not known; else nil
	status   syscall.WaitStatus         // of the last process that served
	deferred []syscall.Signal           // to forward once serving is known
	over     bool                       // the pipe has ended
	finished bool                       // ended is closed
}

// newSupervisor returns nil if this process may end after an upgrade. Otherwise orphans are reaped from now on.
func newSupervisor(log *slog.Logger) *supervisor {
	if !staysAfterUpgrade(os.Getpid(), reaper.Adopts(), os.Getenv("NOTIFY_SOCKET") != "", parentName()) {
		return nil
	}
	s := &supervisor{log: log, children: make(chan os.Signal, 1), ended: make(chan struct{})}
	if err := reaper.Adopt(); err != nil {
		log.Warn("cannot adopt orphaned processes", "error", err)
	}
	reaper.Watch(s.childEnded)
	signal.Notify(s.children, syscall.SIGCHLD)
	go func() {
		for range s.children {
			reaper.Reap()
		}
	}()
	reaper.Reap()
	return s
}

// close ends the reaping of orphans.
func (s *supervisor) close() {
	if s != nil {
		signal.Stop(s.children)
		close(s.children)
	}
}

// beginUpgrade returns the write end of the pipe for the new process.
func (s *supervisor) beginUpgrade() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipe, s.exits = r, map[int]syscall.WaitStatus{}
	return w, nil
}

// cancelUpgrade ends an upgrade that failed.
func (s *supervisor) cancelUpgrade() {
	s.mu.Lock()
	pipe := s.pipe
	s.pipe, s.exits = nil, nil
	s.mu.Unlock()
	pipe.Close()
}

// follow makes pid, the new process of an upgrade, the one that serves.
func (s *supervisor) follow(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setServing(pid)
	go func() {
		raw, err := s.pipe.SyscallConn()
		if err == nil {
			err = raw.Read(func(fd uintptr) bool { // called when there is something to read, until it returns true
				s.mu.Lock()
				defer s.mu.Unlock()
				s.readAnnouncements(int(fd))
				return s.over
			})
		}
		if err != nil {
			s.log.Error("cannot follow upgraded processes", "error", err)
		}
	}()
}

// setServing makes pid the process that serves. mu is held.
func (s *supervisor) setServing(pid int) {
	if status, ended := s.exits[pid]; ended {
		s.serving, s.status = 0, status
		return
	}
	s.serving, s.exits = pid, nil
	for _, sig := range s.deferred {
		syscall.Kill(pid, sig)
	}
	s.deferred = nil
}

// forward sends a signal to the process that serves.
func (s *supervisor) forward(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update()
	if s.serving == 0 {
		s.deferred = append(s.deferred, sig)
		return
	}
	syscall.Kill(s.serving, sig)
}

// childEnded handles the end of a child.
func (s *supervisor) childEnded(pid int, status syscall.WaitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving != 0 {
		s.update() // it may have announced itself
	}
	if pid == s.serving && pid != 0 {
		s.serving, s.status, s.exits = 0, status, map[int]syscall.WaitStatus{}
	}
	if s.exits != nil {
		s.exits[pid] = status
	}
	s.finish()
}

// update reads the announcements that have arrived. mu is held.
func (s *supervisor) update() {
	if raw, err := s.pipe.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { s.readAnnouncements(int(fd)) })
	}
}

// readAnnouncements reads what is in the pipe. It does not block. mu is held.
func (s *supervisor) readAnnouncements(fd int) {
	for !s.over {
		var message [4]byte
		n, err := syscall.Read(fd, message[:])
		switch {
		case n == len(message):
			s.setServing(int(binary.BigEndian.Uint32(message[:])))
		case err == syscall.EINTR:
		case err != nil: // EAGAIN
			return
		default:
			s.over = true
			s.finish()
		}
	}
}

// finish closes ended once no process is left and the exit code is known. mu is held.
func (s *supervisor) finish() {
	if s.finished || !s.over || s.serving != 0 {
		return // the kernel closes the pipe before it reports the end of the process
	}
	s.finished, s.code = true, s.status.ExitStatus()
	if s.status.Signaled() {
		s.code = 128 + int(s.status.Signal())
	}
	close(s.ended)
}
