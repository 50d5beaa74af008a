package nginxconf

import (
	"fmt"
	"strings"
)

// parser reads a text.
type parser struct {
	file string
	text string
	at   int
	line int
}

func (p *parser) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.file, line, fmt.Sprintf(format, args...))
}

// tokenKind is the kind of a token.
type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenSemicolon
	tokenOpen
	tokenClose
)

// block reads directives up to the end of their block, or of the text at depth 0.
func (p *parser) block(depth int) ([]*Directive, error) {
	if depth > maxDepth {
		return nil, p.errorf(p.line, "blocks are nested more than %d deep", maxDepth)
	}
	list := []*Directive{}
	var d *Directive
	for {
		kind, word, line, err := p.next()
		switch {
		case err != nil:
			return nil, err
		case kind == tokenWord && d == nil:
			d = &Directive{Name: word, File: p.file, Line: line}
		case kind == tokenWord:
			d.Args = append(d.Args, word)
		case kind == tokenSemicolon && d == nil:
			return nil, p.errorf(line, "unexpected ;")
		case kind == tokenSemicolon:
			list, d = append(list, d), nil
		case kind == tokenOpen && d == nil:
			return nil, p.errorf(line, "unexpected {")
		case kind == tokenOpen && strings.HasSuffix(d.Name, "_by_lua_block"):
			if err := p.skipBlock(line); err != nil {
				return nil, err
			}
			d.Block = []*Directive{}
			list, d = append(list, d), nil
		case kind == tokenOpen:
			if d.Block, err = p.block(depth + 1); err != nil {
				return nil, err
			}
			list, d = append(list, d), nil
		case kind == tokenClose && depth == 0:
			return nil, p.errorf(line, "unexpected }")
		case d != nil:
			// Its name is not shown: the text may be no configuration, and hold a secret.
			return nil, p.errorf(d.Line, "a directive is not ended by ; or a block")
		case kind == tokenEnd && depth > 0:
			return nil, p.errorf(line, "a block is not closed")
		default:
			return list, nil
		}
	}
}

// next returns the next token and its line.
func (p *parser) next() (kind tokenKind, word string, line int, err error) {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '\n':
			p.line++
			p.at++
		case ' ', '\t', '\r':
			p.at++
		case '#':
			end := strings.IndexByte(p.text[p.at:], '\n')
			if end < 0 {
				end = len(p.text) - p.at
			}
			p.at += end
		case ';':
			p.at++
			return tokenSemicolon, "", p.line, nil
		case '{':
			p.at++
			return tokenOpen, "", p.line, nil
		case '}':
			p.at++
			return tokenClose, "", p.line, nil
		case '"', '\'':
			line = p.line
			word, err = p.quoted(c)
			return tokenWord, word, line, err
		default:
			line = p.line
			return tokenWord, p.bare(), line, nil
		}
	}
	return tokenEnd, "", p.line, nil
}

// quoted reads a word in quotes.
func (p *parser) quoted(quote byte) (string, error) {
	begin := p.line
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == quote:
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			p.escaped(&b)
		default:
			if c == '\n' {
				p.line++
			}
			b.WriteByte(c)
		}
	}
	return "", p.errorf(begin, "a quotation that begins with %c has no end", quote)
}

// bare reads a word without quotes. A variable's name in braces is part of it.
func (p *parser) bare() string {
	var b strings.Builder
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			p.escaped(&b)
		case c == '$' && strings.HasPrefix(p.text[p.at:], "${"):
			end := strings.IndexAny(p.text[p.at:], "} \t\r\n;")
			if end < 0 || p.text[p.at+end] != '}' {
				b.WriteByte(c)
				continue
			}
			b.WriteString(p.text[p.at : p.at+end+1])
			p.at += end
		case strings.IndexByte(" \t\r\n;{", c) >= 0:
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escaped adds the character after a backslash. As in nginx, the backslash stays before characters that need none.
func (p *parser) escaped(b *strings.Builder) {
	switch c := p.text[p.at]; c {
	case '"', '\'', '\\', ' ', ';', '{', '}', '#', '$':
		b.WriteByte(c)
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'n':
		b.WriteByte('\n')
	default:
		if c == '\n' {
			p.line++
		}
		b.WriteByte('\\')
		b.WriteByte(c)
	}
}

// skipBlock skips the rest of a block of Lua, whose braces are balanced outside of strings and comments.
func (p *parser) skipBlock(line int) error {
	for depth := 1; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '\n':
			p.line++
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				p.at++
				return nil
			}
		case c == '"' || c == '\'':
			if _, err := p.quoted(c); err != nil {
				return err
			}
			p.at--
		case strings.HasPrefix(p.text[p.at:], "--"):
			end := strings.IndexByte(p.text[p.at:], '\n')
			if end < 0 {
				end = len(p.text) - p.at
			}
			p.at += end - 1
		}
	}
	return p.errorf(line, "a block is not closed")
}
