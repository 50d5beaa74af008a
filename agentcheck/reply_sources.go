package agentcheck

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// ReplyFunc says what a Server tells about its host: one line of the grammar, without the line end. An error means that
// there is nothing to tell; the balancer then keeps what it knows.
type ReplyFunc func() (string, error)

// FixedReply answers the same line always. The error tells a line that a balancer would not understand.
func FixedReply(line string) (ReplyFunc, error) {
	advice, err := Parse([]byte(line + "\n"))
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(line, "\r\n") {
		return nil, errors.New("more than one line")
	}
	if advice.Unknown != "" {
		return nil, fmt.Errorf("%q is not a word that agents say", advice.Unknown)
	}
	return func() (string, error) { return line, nil }, nil
}

// FileReply answers the first line of a file, read anew for every question, so that whoever may write the file decides. The
// errors are those of the file, and that its first line is empty or too long.
func FileReply(path string) ReplyFunc {
	return func() (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, MaxReply))
		if err != nil {
			return "", err
		}
		if len(text) < MaxReply {
			text = append(text, '\n') // an editor may have left it out
		}
		if _, err := Parse(text); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return string(text[:lineEnd(text)]), nil
	}
}

// LoadReply answers a percentage that falls as this host's load rises: 100 % where nothing runs or waits for a processor, 1 %
// from one such task per processor on. It is never 0 %, which would take the server out of service.
func LoadReply() ReplyFunc {
	return func() (string, error) {
		text, err := os.ReadFile("/proc/loadavg")
		if err != nil {
			return "", err
		}
		first, _, _ := strings.Cut(string(text), " ")
		load, err := strconv.ParseFloat(first, 64)
		if err != nil {
			return "", fmt.Errorf("/proc/loadavg: %w", err)
		}
		return loadLine(load, runtime.NumCPU()), nil
	}
}

// loadLine is the answer for a load average, of one minute, on so many processors.
func loadLine(load float64, processors int) string {
	percent := int(100*(1-load/float64(processors)) + 0.5)
	return strconv.Itoa(min(max(percent, 1), 100)) + "%"
}
