package conf

import "weir/conf/internal/tree"

// KeyOffset is one entry of the schema: what a key of a table may hold, what it means, where it goes and how to print it. It
// drives decoding, defaults, the search for unknown keys, error texts, comparison and the reference. A new key is one
// entry, and one field in the specification.
type key[T any] struct {
	name        string
	typeText    string // the type in a word or two, for the reference
	defaultText string // the default as written in a file, for the reference
	doc         string // the meaning, for the reference
	isRequired  bool   // must be given

	aliases     []string // what other programs call it, for suggestions
	types       []string // of a check its types, of a listener its protocols that take it; nil = all
	fixedReason string   // why it cannot change while weir runs; "" = it can

	setDefault func(into *T)                           // sets the default; nil = the zero value, or inherited
	decode     func(d *decoder, n *tree.Node, into *T) // sets the field from the file
	show       func(of *T) string                      // prints the field for comparison; nil = not compared by this key
	secret     bool                                    // what it shows is compared, but told to nobody
}

// Kind is a type of value: how to read it and how to print it.
type valueType[V any] struct {
	text  string
	parse func(n *tree.Node) (V, error) // the error is the message, without what was got
	show  func(v V) string
	// The values of a secret kind appear in no message, whatever parse says. Its keys are to be veiled.
	secret bool
}

// scalar is the usual key: one value of a kind, in one field. usual is the default as it would stand in the file; an
// empty one leaves the field as it is.
func scalar[T, V any](name string, k valueType[V], usual string, field func(*T) *V, doc string) key[T] {
	var preset func(*T)
	if usual != "" {
		v, err := k.parse(&tree.Node{Value: usual, InString: true})
		if err != nil {
			panic("conf: default of " + name + ": " + err.Error()) // caught by any test that loads a file
		}
		preset = func(into *T) { *field(into) = v }
	}
	return key[T]{
		name: name, typeText: k.text, defaultText: usual, doc: doc, setDefault: preset,
		decode: func(d *decoder, n *tree.Node, into *T) {
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
func read[V any](d *decoder, n *tree.Node, k valueType[V]) (V, bool) {
	v, err := k.parse(n)
	if err == nil {
		return v, true
	}
	msg := err.Error()
	if k.secret {
		msg = "want a " + k.text
	}
	d.errorAt(n, "%s", msg)
	return v, false
}

// tables is a key that holds a list of tables, written [[name]].
func tables[T any](name, doc string, each func(d *decoder, n *tree.Node, into *T)) key[T] {
	return key[T]{
		name: name, typeText: "tables", doc: doc,
		decode: func(d *decoder, n *tree.Node, into *T) {
			if n.Kind != tree.List {
				d.errorAt(n, "want [[%s]] tables, got %s", tablePath(n), gotTable(n))
				return
			}
			for _, e := range n.Items {
				if d.tooManyErrors() {
					return
				}
				if e.Kind != tree.Table {
					d.errorAt(e, "want a table, got %s", e.Describe())
				}
				each(d, e, into)
			}
		},
	}
}

// table is a key that holds one table, written [name].
func table[T any](name, doc string, decode func(d *decoder, n *tree.Node, into *T)) key[T] {
	return key[T]{
		name: name, typeText: "table", doc: doc,
		decode: func(d *decoder, n *tree.Node, into *T) {
			if n.Kind != tree.Table {
				d.errorAt(n, "want a [%s] table, got %s", tablePath(n), gotTable(n))
				return
			}
			decode(d, n, into)
		},
	}
}

func (k key[T]) required() key[T]                   { k.isRequired = true; return k }
func (k key[T]) withAliases(words ...string) key[T] { k.aliases = words; return k }

// onlyFor is for keys of some types of checks, or protocols of listeners, only.
func (k key[T]) onlyFor(types ...string) key[T] { k.types = types; return k }

// hideValue is for keys whose values no plan shows.
func (k key[T]) hideValue() key[T] { k.secret = true; return k }

// fixedBecause gives the reason why a key cannot change while weir runs.
func (k key[T]) fixedBecause(reason string) key[T] { k.fixedReason = reason; return k }

// fromCluster is for keys of a server that default to the cluster's.
func (k key[T]) fromCluster() key[T] { k.setDefault, k.defaultText = nil, "the cluster's"; return k }

// withDefaultText describes a default that is not a constant.
func (k key[T]) withDefaultText(text string) key[T] { k.defaultText = text; return k }

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
