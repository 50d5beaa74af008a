// Package clienthello reads the first message of a TLS client from bytes that were peeked: the server name (SNI) and the
// protocols (ALPN) that it asks for. Nothing is decrypted. An encrypted ClientHello has its outer name.
package clienthello
