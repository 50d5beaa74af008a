// Package convert translates configurations of HAProxy and of nginx's stream module into weir's.
//
// A configuration is read into lines or directives with their positions, translated section by section into a document
// of TOML tables, and printed. What has no counterpart stays in the result as a comment with its position and the reason:
//
//	text → readHAProxy, readNGINX → haproxyProxy, nginxServer → document → TOML
//
// Nothing is read but the text given, and the files that nginx's include names. The package knows weir's keys only as
// text: the caller loads the result as weir would, to find what the translation got wrong.
package convert
