package checks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Redis sends AUTH if there is a password or a user, then PING and INFO for the sections that it uses.
//
// The server fails if it replies to PING or AUTH with an error, is loading its data, is a replica whose link to its
// primary is down, or lags behind. A working primary or replica that should have the other role is a StandbyError. A
// server that answers PING but not INFO (a proxy, or a user without the right) passes, unless an option depends on INFO.
//
// An active replica of KeyDB accepts writes and counts as a primary. Its links are judged only with MaxLag.
type Redis struct {
	User       string
	Password   Secret
	Role       string        // "", primary or replica
	MaxLag     time.Duration // of a replica: maximum time since the last data from its primary, in whole seconds; 0 = any
	AllowStale bool          // accept a replica whose link is down
	TLS        *TLS          // nil = plain
}

// Monitor returns the monitor, or an error if the password cannot be read or the role or the TLS options are invalid.
func (o Redis) Monitor() (Monitor, error) {
	password, err := o.Password.Read()
	if err != nil {
		return nil, err
	}
	if o.Role != "" && o.Role != "primary" && o.Role != "replica" {
		return nil, fmt.Errorf("role: want primary or replica, got %q", o.Role)
	}
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	return NewRedactor([]string{password}).monitor(func(ctx context.Context, t Target) (Report, error) {
		x, err := openConn(ctx, t, secure)
		if err != nil {
			return Report{}, err
		}
		defer x.close()
		r := newRESPReader(x)
		if o.User != "" || password != "" {
			if err := o.login(x, r, password); err != nil {
				return Report{}, err
			}
		}
		return o.checkInfo(x, r)
	}), nil
}

// login authenticates. The reply may repeat the password, so only error replies are reported, without the password.
func (o Redis) login(x *checkConn, r *respReader, password string) error {
	args := []string{"AUTH", password}
	if o.User != "" {
		args = []string{"AUTH", o.User, password}
	}
	_, err := r.command(x, args...)
	var serverErr *redisError
	var odd *protocolError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &serverErr) && errors.As(err, &odd):
		err = fmt.Errorf("%w: expected OK, got something else", odd.why)
	}
	return fmt.Errorf("AUTH: %w", err)
}

// checkInfo sends PING and INFO and checks the replies.
func (o Redis) checkInfo(x *checkConn, r *respReader) (Report, error) {
	pong, err := r.command(x, "PING")
	if err == nil && pong != "PONG" {
		err = mismatch(errors.New("wrong reply"), strconv.Quote("PONG"), []byte(pong))
	}
	if err != nil {
		return Report{}, fmt.Errorf("PING: %w", err)
	}
	info, err := readInfo(x, r)
	var odd *protocolError
	switch {
	case errors.Is(err, context.Canceled):
		return Report{}, err
	case err != nil && (o.Role != "" || o.MaxLag > 0 || errors.As(err, &odd)):
		return Report{}, fmt.Errorf("INFO: %w", err)
	case err != nil:
		return Report{Detail: "answers PING, not INFO"}, nil
	}
	return Report{Detail: info.String()}, o.verify(info)
}

// readInfo reads the sections of INFO that the check uses, which are short on most servers. The whole reply has 83 kB on a
// server with 4,000 databases and many kinds of errors. One section is asked for at a time: servers before Redis 7.0
// reject several. A server that sends other sections too is not asked again for them.
func readInfo(x *checkConn, r *respReader) (redisInfo, error) {
	info := redisInfo{lag: -1}
	if err := r.lines(x, info.parseLine, "INFO", "replication"); err != nil {
		return info, err
	}
	for _, section := range []struct {
		name string
		has  bool
	}{{"server", info.version != ""}, {"persistence", info.hasLoading}} {
		if section.has {
			continue
		}
		err := r.lines(x, info.parseLine, "INFO", section.name)
		if serverErr := (*redisError)(nil); err != nil && !errors.As(err, &serverErr) {
			return info, err
		}
	}
	return info, nil
}

// verify checks the reply to INFO.
func (o Redis) verify(i redisInfo) error {
	active := i.role == "active replica"
	primary := i.role == "primary" || active
	switch {
	case i.loading:
		return errors.New("loading its data")
	case o.Role == "primary" && i.role == "replica", o.Role == "replica" && primary:
		return &StandbyError{fmt.Errorf("role: expected %s, got %s", o.Role, strconv.Quote(i.role))}
	case o.Role == "primary" && !primary, o.Role == "replica" && i.role != "replica":
		return fmt.Errorf("role: expected %s, got %s", o.Role, strconv.Quote(clip(i.role)))
	case i.role != "replica" && !(active && o.MaxLag > 0):
		return nil
	case !i.linked() && !o.AllowStale:
		return errors.New("replication: the link to the primary is down")
	case o.MaxLag > 0 && i.lag < 0:
		return fmt.Errorf("replication: expected a lag of at most %v, got an unknown lag", o.MaxLag)
	case o.MaxLag > 0 && i.lag > o.MaxLag:
		return fmt.Errorf("replication: expected a lag of at most %v, got %v", o.MaxLag, i.lag)
	}
	return nil
}

// redisInfo is the part of replies to INFO that the check uses.
type redisInfo struct {
	version     string
	role        string // primary, replica, active replica, or the server's own word
	links       int    // links to primaries; KeyDB may have several
	brokenLinks int
	lag         time.Duration // the longest time since data arrived from a primary; below 0 = unknown
	unknownLag  bool          // a link has no lag
	loading     bool
	hasLoading  bool // the server has sent loading
}

// linked reports whether the server is connected to its primaries.
func (i *redisInfo) linked() bool { return i.links > 0 && i.brokenLinks == 0 }

// parseLine parses a line of "name:value" and ignores other lines.
func (i *redisInfo) parseLine(line []byte) {
	name, value, ok := strings.Cut(string(line), ":")
	if !ok {
		return
	}
	switch name {
	case "redis_version":
		if i.version == "" {
			i.version = "redis " + value
		}
		return
	case "valkey_version":
		i.version = "valkey " + value
		return
	case "role":
		switch value {
		case "master":
			i.role = "primary"
		case "slave":
			i.role = "replica"
		case "active-replica":
			i.role = "active replica"
		default:
			i.role = value
		}
		return
	case "loading":
		i.loading, i.hasLoading = value != "0", true
		return
	}
	// KeyDB numbers further links: master_link_status, master_1_link_status.
	name, _ = strings.CutPrefix(name, "master_")
	if number, rest, numbered := strings.Cut(name, "_"); numbered && isDigits(number) {
		name = rest
	}
	switch name {
	case "link_status", "global_link_status":
		i.links++
		if value != "up" {
			i.brokenLinks++
		}
	case "last_io_seconds_ago":
		n, err := strconv.Atoi(value)
		if i.unknownLag = i.unknownLag || err != nil || n < 0; i.unknownLag {
			i.lag = -1
		} else {
			i.lag = max(i.lag, time.Duration(min(n, 1<<31))*time.Second)
		}
	}
}

func (i *redisInfo) String() string {
	parts := []string{clipText(i.version)}
	if i.role != "" {
		parts = append(parts, clipText(i.role))
	}
	if i.role == "replica" || i.links > 0 {
		link := "link down"
		if i.linked() {
			link = "link up"
		}
		parts = append(parts, link)
		if i.lag >= 0 {
			parts = append(parts, fmt.Sprintf("lag %v", i.lag))
		}
	}
	return strings.TrimPrefix(strings.Join(parts, ", "), ", ")
}
