// Package conf turns TOML files into a validated, typed specification (Load) and compares two specifications (Diff),
// which gives a printable Plan. It is pure data: it only reads files, resolves no names and opens no sockets, so that
// `weir check` and a real start share all of it.
//
// A file goes through these steps: conf/internal/tree parses it into nodes with positions; the schema (schema.go and
// the *Keys functions) decodes nodes into drafts; linkReferences validates what depends on several tables. Servers and
// clusters that the API defines in JSON go through the same nodes, schema and rules (request.go).
package conf
