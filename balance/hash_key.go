package balance

import "github.com/cespare/xxhash/v2"

// HashKey converts the bytes that identify a client to Attempts.Key. It is XXH64 (Yann Collet): the same on every
// machine and in every build.
func HashKey(b []byte) uint64 { return xxhash.Sum64(b) }
