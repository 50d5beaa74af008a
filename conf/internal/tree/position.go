package tree

// position is the position of a value in a file. Positions form the same tree as the values.
type position struct {
	at         int32 // offset of the value; of a table, of its header or opening brace
	key        int32 // offset of the last part of its key; of a list element, of the element
	form       positionForm
	incomplete bool // of a table: it has a key that could not be parsed
	keys       map[string]*position
	items      []*position
}

// positionForm is the notation of a value, which decides what may be added to it.
type positionForm uint8

const (
	formValue   positionForm = iota
	formImplied              // a table that occurs only as part of another header
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

// last returns the table that keys after the header belong to.
func (p *position) last() *position {
	if p.form == formTables && len(p.items) > 0 {
		return p.items[len(p.items)-1]
	}
	return p
}
