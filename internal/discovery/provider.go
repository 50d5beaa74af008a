package discovery

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"weir/checks"
	"weir/conf"
)

// Provider asks one source. Its methods are called by one goroutine at a time.
type Provider interface {
	// Ask returns the current answer, or ErrUnchanged if it is that of the last call that succeeded.
	Ask(ctx context.Context) (Answer, error)
}

// Notifier is a Provider that notices changes of its source.
type Notifier interface {
	Provider
	// Wait returns when the source may have changed since the last Ask, or when ctx ends. It waits at least a moment.
	Wait(ctx context.Context)
}

// ErrUnchanged reports that the answer is the last one.
var ErrUnchanged = errors.New("unchanged")

// Place is the level that a provider serves.
type Place struct{ Cluster, Level string }

// Source is a provider whose files have been read.
type Source struct {
	// New returns the provider of a level. It opens nothing.
	New func(Place) Provider

	// Fingerprint identifies the contents of the files that the provider uses as they were.
	Fingerprint [sha256.Size]byte
}

// Prepare reads the files that a specification names. It opens no socket and asks nothing. The error of a key that depends on
// this host is a checks.OptionError.
func Prepare(spec *conf.Discover) (Source, error) {
	s := Source{Fingerprint: fingerprint(spec)}
	var err error
	switch spec.Type {
	case "file":
		s.New = func(Place) Provider { return newFile(spec.Path, parseTargets) }
	case "http":
		s.New, err = prepareHTTP(spec)
	case "exec":
		s.New, err = prepareExec(spec)
	case "dns":
		s.New = func(Place) Provider { return newDNS(spec) }
	case "nginx":
		s.New = func(Place) Provider { return newNginx(spec) }
	case "consul":
		s.New, err = prepareConsul(spec)
	default:
		err = fmt.Errorf("unknown type %q", spec.Type)
	}
	return s, err
}

// maxFile limits the files of keys and certificates.
const maxFile = 16 << 20

// fingerprint hashes the files that a specification names. A file that cannot be read is left out.
func fingerprint(spec *conf.Discover) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range []string{spec.TLS.CAFile, spec.TLS.CertFile, spec.TLS.KeyFile} {
		var b []byte
		if path != "" {
			b, _ = conf.ReadFile(path, maxFile)
		}
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	h.Sum(sum[:0])
	return sum
}

// tlsConfig returns the configuration of TLS connections, or nil.
func tlsConfig(spec *conf.Discover) (*tls.Config, error) {
	if !spec.TLS.On {
		return nil, nil
	}
	t := &checks.TLS{ServerName: spec.TLS.ServerName, CAFile: spec.TLS.CAFile, CertFile: spec.TLS.CertFile, KeyFile: spec.TLS.KeyFile, SkipVerify: spec.TLS.SkipVerify}
	return t.Client()
}

// maxToken limits the size of a token file, in bytes.
const maxToken = 64 << 10

// readToken returns the token in a file that other users can neither read nor write; "" without a file.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o006 != 0 {
		return "", fmt.Errorf("%s: other users may read or write it (mode %04o); run chmod o-rw", path, info.Mode().Perm())
	}
	text, err := conf.ReadFile(path, maxToken)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, "\r\n\x00") {
		return "", fmt.Errorf("%s: want one line with a token", path)
	}
	return token, nil
}

// checkToken returns an OptionError if a token file cannot be used.
func checkToken(path string) error {
	if _, err := readToken(path); err != nil {
		return checks.OptionError{Option: "token_file", Err: err}
	}
	return nil
}

// errTimeout is the error of a question that got no answer in time.
func errTimeout(after time.Duration) error { return fmt.Errorf("no answer within %v", after) }
