package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"

	"weir/checks"
	"weir/conf"
)

// Source is a source of roles whose files and variables have been read.
type Source struct {
	// Start starts a watcher. It opens connections in the background and does not block.
	Start func(Options) Watcher

	// Fingerprint identifies the contents of the files and variables, which a watcher uses as they were.
	Fingerprint [sha256.Size]byte
}

// Prepare reads the files and variables that a specification names. It opens no socket. The error of a key that depends on
// this host is a checks.OptionError.
func Prepare(spec conf.Topology) (Source, error) {
	s := Source{Fingerprint: fingerprint(spec)}
	var err error
	switch spec.Type {
	case "sentinel":
		var client *checks.RedisClient
		client, err = newSentinelClient(spec)
		s.Start = func(o Options) Watcher { return startSentinelWatcher(o, client) }
	case "mysql", "galera":
		s.Start, err = prepareSQL(spec)
	default:
		err = fmt.Errorf("unknown type %q", spec.Type)
	}
	return s, err
}

// maxFile limits the files that are read, as those of checks are.
const maxFile = 16 << 20

// fingerprint hashes the files and variables that a specification names. What cannot be read is left out.
func fingerprint(spec conf.Topology) (sum [sha256.Size]byte) {
	h := sha256.New()
	add := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	for _, path := range []string{spec.Password.File, spec.ServerKeyFile, spec.TLS.CAFile, spec.TLS.CertFile, spec.TLS.KeyFile} {
		var b []byte
		if path != "" {
			b, _ = conf.ReadFile(path, maxFile)
		}
		add(b)
	}
	if spec.Password.Env != "" {
		add([]byte(os.Getenv(spec.Password.Env)))
	}
	h.Sum(sum[:0])
	return sum
}
