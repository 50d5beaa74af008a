package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Redis sends AUTH if there is a password or a user, then PING and INFO.
//
// The server fails if it replies to PING or AUTH with an error, is loading its data, is a replica whose link to its
// primary is down, has another role than Role, or lags behind. A server that answers PING but not INFO (a proxy, or a
// user without the right) passes, unless an option depends on INFO.
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
	password, err := o.Password.read()
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
	return redactReports(func(ctx context.Context, t Target) (Report, error) {
		x, err := openConn(ctx, t, secure)
		if err != nil {
			return Report{}, err
		}
		defer x.close()
		r := &respReader{replyReader: replyReader{from: x}}
		if o.User != "" || password != "" {
			if err := o.login(x, r, password); err != nil {
				return Report{}, err
			}
		}
		return o.checkInfo(x, r)
	}, password), nil
}

// login authenticates. The reply may repeat the password, so only error replies are reported, without the password.
func (o Redis) login(x *checkConn, r *respReader, password string) error {
	args := []string{"AUTH", password}
	if o.User != "" {
		args = []string{"AUTH", o.User, password}
	}
	_, err := r.command(x, maxLine, args...)
	var serverErr *redisError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &serverErr):
		serverErr.text = redact(serverErr.text, password)
		return fmt.Errorf("AUTH: %w", serverErr)
	}
	var odd *protocolError
	if errors.As(err, &odd) {
		return fmt.Errorf("AUTH: %w: expected OK, got something else", odd.why)
	}
	return fmt.Errorf("AUTH: %w", err)
}

// checkInfo sends PING and INFO and checks the replies.
func (o Redis) checkInfo(x *checkConn, r *respReader) (Report, error) {
	pong, err := r.command(x, maxLine, "PING")
	if err == nil && string(pong) != "PONG" {
		err = mismatch(errors.New("wrong reply"), strconv.Quote("PONG"), pong)
	}
	if err != nil {
		return Report{}, fmt.Errorf("PING: %w", err)
	}
	text, err := r.command(x, maxReply, "INFO")
	var odd *protocolError
	switch {
	case errors.Is(err, context.Canceled):
		return Report{}, err
	case err != nil && (o.Role != "" || o.MaxLag > 0 || errors.As(err, &odd)):
		return Report{}, fmt.Errorf("INFO: %w", err)
	case err != nil:
		return Report{Detail: "answers PING, not INFO"}, nil
	}
	info := parseInfo(text)
	return Report{Detail: info.String()}, o.verify(info)
}

// verify checks the reply to INFO.
func (o Redis) verify(i redisInfo) error {
	switch {
	case i.loading:
		return errors.New("loading its data")
	case o.Role != "" && i.role != o.Role:
		return fmt.Errorf("role: expected %s, got %s", o.Role, strconv.Quote(clip(i.role)))
	case i.role != "replica":
		return nil
	case !i.linked && !o.AllowStale:
		return errors.New("replication: the link to the primary is down")
	case o.MaxLag > 0 && (i.lag < 0 || i.lag > o.MaxLag):
		if i.lag < 0 {
			return fmt.Errorf("replication: expected a lag of at most %v, got an unknown lag", o.MaxLag)
		}
		return fmt.Errorf("replication: expected a lag of at most %v, got %v", o.MaxLag, i.lag)
	}
	return nil
}

// redisInfo is the part of a reply to INFO that the check uses.
type redisInfo struct {
	version string
	role    string        // primary, replica, or the server's own word
	linked  bool          // a replica's link to its primary is up
	lag     time.Duration // time since a replica last received data from its primary; below 0 = unknown
	loading bool
}

// parseInfo parses lines of "name:value" and ignores other lines.
func parseInfo(text []byte) redisInfo {
	i := redisInfo{lag: -1}
	for line := range bytes.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), ":")
		if !ok {
			continue
		}
		switch name {
		case "redis_version":
			if i.version == "" {
				i.version = "redis " + value
			}
		case "valkey_version":
			i.version = "valkey " + value
		case "role":
			switch value {
			case "master":
				i.role = "primary"
			case "slave":
				i.role = "replica"
			default:
				i.role = value
			}
		case "master_link_status":
			i.linked = value == "up"
		case "master_last_io_seconds_ago":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				i.lag = time.Duration(min(n, 1<<31)) * time.Second
			}
		case "loading":
			i.loading = value != "0"
		}
	}
	return i
}

func (i redisInfo) String() string {
	parts := []string{printable(i.version)}
	if i.role != "" {
		parts = append(parts, printable(i.role))
	}
	if i.role == "replica" {
		link := "link down"
		if i.linked {
			link = "link up"
		}
		parts = append(parts, link)
		if i.lag >= 0 {
			parts = append(parts, fmt.Sprintf("lag %v", i.lag))
		}
	}
	return strings.TrimPrefix(strings.Join(parts, ", "), ", ")
}
