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

// ReplyFunc returns the reply of a Server: one line of the grammar, without the line end. After an error nothing is
// sent, and the balancer keeps its state.
type ReplyFunc func() (string, error)

// FixedReply returns a ReplyFunc that always returns line. The error reports a line that a balancer would not
// understand.
func FixedReply(line string) (ReplyFunc, error) {
	advice, err := Parse([]byte(line + "\n"))
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(line, "\r\n") {
		return nil, errors.New("more than one line")
	}
	if advice.Unknown != "" {
		return nil, fmt.Errorf("unknown word %q", advice.Unknown)
	}
	return func() (string, error) { return line, nil }, nil
}

// FileReply returns a ReplyFunc that returns the first line of a file. The file is read for every request. The errors
// are those of the file, and that its first line is empty or too long.
func FileReply(path string) ReplyFunc {
	return func() (string, error) {
		info, err := os.Stat(path)
		if err == nil && !info.Mode().IsRegular() { // to open a FIFO without a writer would block
			err = fmt.Errorf("%s: not a regular file", path)
		}
		if err != nil {
			return "", err
		}
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
			text = append(text, '\n') // the last line may have no end
		}
		if _, err := Parse(text); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return string(text[:lineEnd(text)]), nil
	}
}

// LoadReply returns a ReplyFunc that returns a percentage by this host's load: 100 % if no task runs or waits for a
// processor, 1 % from one such task per processor on. It is never 0 %, which would take the server out of service.
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

// loadLine returns the reply for a one-minute load average and a number of processors.
func loadLine(load float64, processors int) string {
	percent := int(100*(1-load/float64(processors)) + 0.5)
	return strconv.Itoa(min(max(percent, 1), 100)) + "%"
}
