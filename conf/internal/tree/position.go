package tree

// position is where a value stands in a file. Places form the same tree as the values; they are found by one parser and the
// values by another, because the one that decodes does not say where.
type position struct {
	at         int32 // offset of the value; of a table, of its header or opening brace
	key        int32 // offset of the last part of its key; of a list element, of the element
	form       positionForm
	incomplete bool // of a table: a key that could not be parsed was left out
	keys       map[string]*position
	items      []*position
}

// positionForm is how a place came to be, which decides what may be added to it.
type positionForm uint8

const (
	formValue   positionForm = iota
	formImplied              // a table that is only part of another's header
	formTable                // [x]
	formTables               // [[x]]: items are tables
	formDotted               // a table that is part of a dotted key
	formInline               // {…}
)

func (p *position) child(name string) *position {
	if p == nil {
		return nil
	}
	return p.keys[name]
}

func (p *position) item(i int) *position {
	if p == nil || i >= len(p.items) {
		return nil
	}
	return p.items[i]
}

func (p *position) put(name string, c *position) {
	if p.keys == nil {
		p.keys = make(map[string]*position)
	}
	p.keys[name] = c
}

// last is the table that keys after a header go to.
func (p *position) last() *position {
	if p.form == formTables && len(p.items) > 0 {
		return p.items[len(p.items)-1]
	}
	return p
}
