package conf

// key is one entry of the schema: what a key of a table may hold, what it means, where it goes and how to print it. It
// drives decoding, defaults, the search for unknown keys, error texts, comparison and the reference. A new key is one
// entry, and one field in the specification.
type key[T any] struct {
	name  string
	form  string // the type in a word or two, for the reference
	usual string // the default as written in a file, for the reference
	doc   string // the meaning, for the reference
	need  bool   // must be given

	words []string // what other programs call it, for suggestions
	types []string // of a check its types, of a listener its protocols that take it; nil = all
	part  part     // which part of its object it belongs to, for plans
	fixed string   // why it cannot change while weir runs; "" = it can

	preset func(into *T)                      // sets the default; nil = the zero value, or inherited
	decode func(d *decoder, n *node, into *T) // sets the field from the file
	show   func(of *T) string                 // prints the field for comparison; nil = not compared by this key
	secret bool                               // what it shows is compared, but told to nobody
}

// part divides the keys of a cluster by who has to act when one changes.
type part uint8

const (
	partSession   part = iota // sessions: dialling, idle time, what happens to them
	partBalancing             // who serves: methods, levels, limits
	partName                  // the identity
)

// kind is a type of value: how to read it and how to print it.
type kind[V any] struct {
	form  string
	parse func(n *node) (V, error) // the error is the message, without what was got
	show  func(v V) string
	// The values of a secret kind appear in no message, whatever parse says. Its keys are to be veiled.
	secret bool
}

// scalar is the usual key: one value of a kind, in one field. usual is the default as it would stand in the file; an
// empty one leaves the field as it is.
func scalar[T, V any](name string, k kind[V], usual string, field func(*T) *V, doc string) key[T] {
	var preset func(*T)
	if usual != "" {
		v, err := k.parse(&node{value: usual, word: true})
		if err != nil {
			panic("conf: default of " + name + ": " + err.Error()) // caught by any test that loads a file
		}
		preset = func(into *T) { *field(into) = v }
	}
	return key[T]{
		name: name, form: k.form, usual: usual, doc: doc, preset: preset,
		decode: func(d *decoder, n *node, into *T) {
			v, ok := read(d, n, k)
			if !ok {
				var none V // not the default: what depends on this value shall not be judged
				v = none
			}
			*field(into) = v
		},
		show: func(of *T) string { return k.show(*field(of)) },
	}
}

// read parses one value and reports what is wrong with it.
func read[V any](d *decoder, n *node, k kind[V]) (V, bool) {
	v, err := k.parse(n)
	if err == nil {
		return v, true
	}
	msg := err.Error()
	if k.secret {
		msg = "want a " + k.form
	}
	d.fault(n, "%s", msg)
	return v, false
}

// tables is a key that holds a list of tables, written [[name]].
func tables[T any](name, doc string, each func(d *decoder, n *node, into *T)) key[T] {
	return key[T]{
		name: name, form: "tables", doc: doc,
		decode: func(d *decoder, n *node, into *T) {
			if n.kind != nodeList {
				d.fault(n, "want [[%s]] tables, got %s", tablePath(n), gotTable(n))
				return
			}
			for _, e := range n.items {
				if d.full() {
					return
				}
				if e.kind != nodeTable {
					d.fault(e, "want a table, got %s", e.got())
				}
				each(d, e, into)
			}
		},
	}
}

// table is a key that holds one table, written [name].
func table[T any](name, doc string, decode func(d *decoder, n *node, into *T)) key[T] {
	return key[T]{
		name: name, form: "table", doc: doc,
		decode: func(d *decoder, n *node, into *T) {
			if n.kind != nodeTable {
				d.fault(n, "want a [%s] table, got %s", tablePath(n), gotTable(n))
				return
			}
			decode(d, n, into)
		},
	}
}

func (k key[T]) required() key[T]              { k.need = true; return k }
func (k key[T]) called(words ...string) key[T] { k.words = words; return k }
func (k key[T]) balancing() key[T]             { k.part = partBalancing; return k }
func (k key[T]) identity() key[T]              { k.part = partName; return k }

// taken is for keys of some types of checks, or protocols of listeners, only.
func (k key[T]) taken(types ...string) key[T] { k.types = types; return k }

// veiled is for keys whose values no plan shows.
func (k key[T]) veiled() key[T] { k.secret = true; return k }

// fixedFor gives the reason why a key cannot change while weir runs.
func (k key[T]) fixedFor(reason string) key[T] { k.fixed = reason; return k }

// inherits is for keys of a server that default to the cluster's.
func (k key[T]) inherits() key[T] { k.preset, k.usual = nil, "the cluster's"; return k }

// defaults describes a default that is not a constant.
func (k key[T]) defaults(text string) key[T] { k.usual = text; return k }

// schema is all tables of a file.
type schema struct {
	root     []key[draft]
	runtime  []key[Runtime]
	log      []key[Log]
	admin    []key[adminDraft]
	listener []key[listenerDraft]
	cluster  []key[clusterDraft]
	level    []key[levelDraft]
	server   []key[Server]
	check    []key[checkDraft]
	step     []key[Step]
	event    []key[hookDraft]
}

func newSchema() schema {
	return schema{
		root: rootKeys(), runtime: runtimeKeys(), log: logKeys(), admin: adminKeys(), listener: listenerKeys(), cluster: clusterKeys(),
		level: levelKeys(), server: serverKeys(), check: checkKeys(), step: stepKeys(), event: hookKeys(),
	}
}
