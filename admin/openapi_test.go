package admin

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"weir/internal/status"
	"weir/l4"
)

func loadOpenAPI(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	return doc
}

func TestOpenAPIListsAllEndpoints(t *testing.T) {
	s := New(nil, UnixSockets{})
	s.Start(newFakeWeir())
	is := map[string][]string{}
	for path, m := range s.endpoints() {
		is[path] = slices.Sorted(maps.Keys(m))
	}
	told := map[string][]string{}
	for path, item := range loadOpenAPI(t).Paths.Map() {
		told[path] = slices.Sorted(maps.Keys(item.Operations()))
		for _, op := range item.Operations() {
			require.NotNil(t, op.Responses.Default(), "%s: errors are described", path)
		}
	}
	require.Equal(t, is, told)
}

func TestOpenAPIListsAllFields(t *testing.T) {
	schemas := loadOpenAPI(t).Components.Schemas
	named := map[reflect.Type]string{reflect.TypeFor[apiError](): "Error", reflect.TypeFor[cutCount](): "Cut"}
	for _, root := range []any{status.Document{}, status.History{}, status.Session{}, status.Event{}, status.Plan{}, status.Upgrade{}, status.Rebalance{}} {
		addStructs(reflect.TypeOf(root), named)
	}
	for v, name := range named {
		require.Contains(t, schemas, name)
		all, always := jsonFields(v)
		require.Equal(t, all, slices.Sorted(maps.Keys(schemas[name].Value.Properties)), name)
		required := slices.Clone(schemas[name].Value.Required)
		slices.Sort(required)
		require.Equal(t, always, required, "%s: what is always there", name)
	}
	all, _ := jsonFields(reflect.TypeFor[status.Explanation]())
	server, _ := jsonFields(reflect.TypeFor[status.Server]())
	own := slices.Sorted(maps.Keys(schemas["Explanation"].Value.Properties))
	require.ElementsMatch(t, all, append(server, own...))
	var told []string
	for _, state := range schemas["Server"].Value.Properties["state"].Value.Enum {
		told = append(told, state.(string))
	}
	require.ElementsMatch(t, serverStates(), told)
}

// addStructs adds a struct and the structs of its fields to named.
func addStructs(t reflect.Type, named map[reflect.Type]string) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() || named[t] != "" {
		return
	}
	named[t] = t.Name()
	for _, f := range reflect.VisibleFields(t) {
		addStructs(f.Type, named)
	}
}

// jsonFields returns the JSON names of the fields of a struct, and those without omitempty.
func jsonFields(t reflect.Type) (all, always []string) {
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("json")
		if !ok {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		all = append(all, name)
		if !strings.Contains(options, "omitempty") {
			always = append(always, name)
		}
	}
	slices.Sort(all)
	slices.Sort(always)
	return all, always
}

func TestOpenAPIListsAllPhases(t *testing.T) {
	want := []any{"abort"} // the only phase without a termination
	for _, end := range l4.Terminations() {
		if !slices.Contains(want, any(end.Phase.String())) {
			want = append(want, end.Phase.String())
		}
	}
	require.ElementsMatch(t, want, loadOpenAPI(t).Components.Schemas["Session"].Value.Properties["phase"].Value.Enum)
}
