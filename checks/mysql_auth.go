package checks

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"filippo.io/edwards25519"

	"weir/conf"
)

// Authentication methods of MySQL and MariaDB. The one of servers before MySQL 4.1 is not among them: its proof reveals
// the password. Nor is mysql_clear_password.
const (
	nativePassword = "mysql_native_password"
	cachingSHA2    = "caching_sha2_password"
	sha256Password = "sha256_password"
	clientEd25519  = "client_ed25519"
)

// nativeProof returns SHA1(password) XOR SHA1(challenge, SHA1(SHA1(password))).
func nativeProof(challenge []byte, password string) []byte {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	mask := sha1.Sum(append(bytes.Clone(challenge), twice[:]...))
	subtle.XORBytes(mask[:], mask[:], once[:])
	return mask[:]
}

// sha2Proof returns SHA256(password) XOR SHA256(SHA256(SHA256(password)), challenge).
func sha2Proof(challenge []byte, password string) []byte {
	once := sha256.Sum256([]byte(password))
	twice := sha256.Sum256(once[:])
	mask := sha256.Sum256(append(twice[:], challenge...))
	subtle.XORBytes(mask[:], mask[:], once[:])
	return mask[:]
}

// ed25519Proof returns an Ed25519 signature of the challenge. The key is made of the password itself, of any length, so
// crypto/ed25519 cannot be used. Source: MariaDB, plugin/auth_ed25519.
func ed25519Proof(challenge []byte, password string) ([]byte, error) {
	h := sha512.Sum512([]byte(password))
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		return nil, err
	}
	public := new(edwards25519.Point).ScalarBaseMult(secret).Bytes()
	scalar := func(parts ...[]byte) (*edwards25519.Scalar, error) {
		sum := sha512.Sum512(bytes.Join(parts, nil))
		return edwards25519.NewScalar().SetUniformBytes(sum[:])
	}
	nonce, err := scalar(h[32:], challenge)
	if err != nil {
		return nil, err
	}
	commitment := new(edwards25519.Point).ScalarBaseMult(nonce).Bytes()
	k, err := scalar(commitment, public, challenge)
	if err != nil {
		return nil, err
	}
	return append(commitment, k.MultiplyAdd(k, secret, nonce).Bytes()...), nil
}

// sealPassword encrypts a password for the owner of a key.
func sealPassword(challenge []byte, password string, key *rsa.PublicKey) ([]byte, error) {
	if len(challenge) == 0 {
		return nil, errMalformed
	}
	plain := append([]byte(password), 0)
	for i := range plain {
		plain[i] ^= challenge[i%len(challenge)]
	}
	return rsa.EncryptOAEP(sha1.New(), rand.Reader, key, plain, nil)
}

// parsePublicKey parses an RSA key in PEM format.
func parsePublicKey(text []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no public key in PEM format")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, ok := key.(*rsa.PublicKey); ok {
		return key, nil
	}
	return nil, errors.New("not an RSA key")
}

// readPublicKey reads the server's public key from a file, or returns nil for "".
func readPublicKey(path string) (*rsa.PublicKey, error) {
	if path == "" {
		return nil, nil
	}
	text, err := conf.ReadFile(path, maxSecret)
	if err != nil {
		return nil, OptionError{"server_public_key_file", err}
	}
	key, err := parsePublicKey(text)
	if err != nil {
		return nil, OptionError{"server_public_key_file", fmt.Errorf("%s: %w", path, err)}
	}
	return key, nil
}
