// Package clienthello reads the first message of a TLS client from the bytes that it has sent: the server name (SNI) and the
// protocols (ALPN) that it asks for. Nothing is decrypted. An encrypted ClientHello has its outer name.
package clienthello
