// Package tree parses TOML and JSON into trees of located values: each Node holds a value and its offset in the text.
//
// For TOML, BurntSushi/toml decodes the values and go-toml gives their offsets, because the decoder does not report
// offsets of values; ParseTOML joins the two. A syntax error does not end the parse: the broken expression is blanked
// and the rest of the text is parsed, so that one run reports all errors. Size, nesting and number of values are limited
// before either parser sees the text.
package tree
