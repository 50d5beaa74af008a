package conf

// place is where a value stands in a file. Places form the same tree as the values; they are found by one parser and the
// values by another, because the one that decodes does not say where.
type place struct {
	at    int32 // offset of the value; of a table, of its header or opening brace
	key   int32 // offset of the last part of its key; of a list element, of the element
	form  placeForm
	lost  bool // of a table: a key that could not be parsed was left out
	keys  map[string]*place
	items []*place
}

// placeForm is how a place came to be, which decides what may be added to it.
type placeForm uint8

const (
	placeValue   placeForm = iota
	placeImplied           // a table that is only part of another's header
	placeTable             // [x]
	placeTables            // [[x]]: items are tables
	placeDotted            // a table that is part of a dotted key
	placeInline            // {…}
)

func (p *place) child(name string) *place {
	if p == nil {
		return nil
	}
	return p.keys[name]
}

func (p *place) item(i int) *place {
	if p == nil || i >= len(p.items) {
		return nil
	}
	return p.items[i]
}

func (p *place) put(name string, c *place) {
	if p.keys == nil {
		p.keys = make(map[string]*place)
	}
	p.keys[name] = c
}

// last is the table that keys after a header go to.
func (p *place) last() *place {
	if p.form == placeTables && len(p.items) > 0 {
		return p.items[len(p.items)-1]
	}
	return p
}
