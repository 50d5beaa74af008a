package conf

import "weir/conf/internal/tree"

// key is one entry of the schema: the value, meaning, field and format of a key. It drives decoding, defaults,
// suggestions, error messages, comparison and the reference. A new key needs one entry, and one field in the
// specification.
type key[T any] struct {
	name        string
	typeText    string // the type, for the reference
	defaultText string // the default as written in a file, for the reference
	doc         string // the meaning, for the reference
	isRequired  bool   // must be given

	aliases     []string // names in other programs, for suggestions
	types       []string // types of checks, or protocols of listeners, that take the key; nil = all
	fixedReason string   // why it cannot change while weir runs; "" = it can

	setDefault func(into *T)                           // nil = the zero value, or inherited
	decode     func(d *decoder, n *tree.Node, into *T) // sets the field
	show       func(of *T) string                      // formats the field for comparison; nil = not compared by this key
	secret     bool                                    // the value is compared but not shown
	file       bool                                    // the value is the path of a file that a start or a reload reads
}

// valueType is a type of value: how to parse it and how to format it.
type valueType[V any] struct {
	text  string
	parse func(n *tree.Node) (V, error) // the error is the whole message
	show  func(v V) string
	// Values of a secret type do not appear in messages, whatever parse returns. Keys of that type need hideValue.
	secret bool
	file   bool // the value is the path of a file that a start or a reload reads
}

// scalar is the usual key: one value in one field. defaultText is the default as written in a file; if it is empty, the
// field keeps its value.
func scalar[T, V any](name string, k valueType[V], defaultText string, field func(*T) *V, doc string) key[T] {
	var setDefault func(*T)
	if defaultText != "" {
		v, err := k.parse(&tree.Node{Value: defaultText, InString: true})
		if err != nil {
			panic("conf: default of " + name + ": " + err.Error()) // any test that loads a file finds it
		}
		setDefault = func(into *T) { *field(into) = v }
	}
	return key[T]{
		name: name, typeText: k.text, defaultText: defaultText, doc: doc, setDefault: setDefault, file: k.file,
		decode: func(d *decoder, n *tree.Node, into *T) {
			v, ok := read(d, n, k)
			if !ok {
				var none V // not the default, so that nothing is reported that depends on this value
				v = none
			}
			*field(into) = v
		},
		show: func(of *T) string { return k.show(*field(of)) },
	}
}

// read parses one value and reports the error.
func read[V any](d *decoder, n *tree.Node, k valueType[V]) (V, bool) {
	v, err := k.parse(n)
	if err == nil {
		if path, ok := n.Value.(string); k.file && ok && path != "" {
			d.named = append(d.named, path)
		}
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

// onlyFor restricts a key to some types of checks, or protocols of listeners.
func (k key[T]) onlyFor(types ...string) key[T] { k.types = types; return k }

// hideValue keeps values out of plans.
func (k key[T]) hideValue() key[T] { k.secret = true; return k }

// fixedBecause gives the reason why a key cannot change while weir runs.
func (k key[T]) fixedBecause(reason string) key[T] { k.fixedReason = reason; return k }

// fromCluster is for keys of a server whose default is the cluster's value.
func (k key[T]) fromCluster() key[T] { k.setDefault, k.defaultText = nil, "the cluster's"; return k }

// withTypeText describes a type whose name in messages is too long for the reference.
func (k key[T]) withTypeText(text string) key[T] { k.typeText = text; return k }

// withDefaultText describes a default that is not a constant.
func (k key[T]) withDefaultText(text string) key[T] { k.defaultText = text; return k }

// schema holds the keys of all tables of a file.
type schema struct {
	root     []key[draft]
	runtime  []key[Runtime]
	log      []key[Log]
	admin    []key[adminDraft]
	fleet    []key[fleetDraft]
	listener []key[listenerDraft]
	route    []key[routeDraft]
	cluster  []key[clusterDraft]
	level    []key[levelDraft]
	server   []key[Server]
	check    []key[checkDraft]
	step     []key[Step]
	topology []key[topologyDraft]

	clusterFleet []key[ClusterFleet]

	discover []key[discoverDraft]
	event    []key[hookDraft]
	vip      []key[vipDraft]
	promote  []key[PromoteAfter]
}

func newSchema() schema {
	return schema{
		root: rootKeys(), runtime: runtimeKeys(), log: logKeys(), admin: adminKeys(), fleet: fleetKeys(), listener: listenerKeys(), route: routeKeys(), cluster: clusterKeys(),
		level: levelKeys(), server: serverKeys(), check: checkKeys(), step: stepKeys(), topology: topologyKeys(), clusterFleet: clusterFleetKeys(), discover: discoverKeys(), event: hookKeys(), vip: vipKeys(), promote: promoteKeys(),
	}
}
