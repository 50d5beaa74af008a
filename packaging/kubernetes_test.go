package packaging

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"weir/conf"
)

// manifests returns the objects of a file, as JSON has them.
func manifests(t *testing.T, file string) (all []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	documents := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var v map[string]any
		err := documents.Decode(&v)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err, file)
		encoded, err := json.Marshal(v)
		require.NoError(t, err, file)
		object, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
		require.NoError(t, err, file)
		all = append(all, object.(map[string]any))
	}
}

// manifest returns the only object of a kind.
func manifest(t *testing.T, file, kind string) map[string]any {
	t.Helper()
	all := slices.DeleteFunc(manifests(t, file), func(o map[string]any) bool { return o["kind"] != kind })
	require.Len(t, all, 1, kind)
	return all[0]
}

// Every object has the fields that Kubernetes and MetalLB know, and those that they require.
func TestManifestsMatchSchemas(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range []string{"kubernetes", "metallb"} {
		schema, err := compiler.Compile(filepath.Join("kubernetes/testdata", name+".schema.json"))
		require.NoError(t, err)
		schemas[name] = schema
	}
	of := func(object map[string]any) *jsonschema.Schema {
		if strings.HasPrefix(object["apiVersion"].(string), "metallb.io/") {
			return schemas["metallb"]
		}
		return schemas["kubernetes"]
	}
	objects := 0
	for _, file := range []string{"kubernetes/weir.yaml", "kubernetes/metallb.yaml"} {
		for _, object := range manifests(t, file) {
			require.NoError(t, of(object).Validate(object), "%s: %s", file, object["kind"])
			objects++
		}
	}
	require.Equal(t, 8, objects)
	// The schemas reject what Kubernetes would reject.
	wrong := manifest(t, "kubernetes/weir.yaml", "DaemonSet")
	wrong["spec"].(map[string]any)["replicas"] = json.Number("3")
	require.ErrorContains(t, of(wrong).Validate(wrong), "replicas")
	wrong = manifest(t, "kubernetes/metallb.yaml", "BGPPeer")
	wrong["apiVersion"] = "metallb.io/v1beta1"
	require.Error(t, of(wrong).Validate(wrong))
}

// The manifests agree with the configuration that they carry.
func TestManifestsMatchConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weir.toml")
	text := manifest(t, "kubernetes/weir.yaml", "ConfigMap")["data"].(map[string]any)["weir.toml"].(string)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	config, err := conf.Load(file)
	require.NoError(t, err)
	require.Len(t, config.Warnings, 1) // the probes use an address without a token
	require.Equal(t, "admin.listen[1]", config.Warnings[0].Path)

	set := manifest(t, "kubernetes/weir.yaml", "DaemonSet")["spec"].(map[string]any)
	pod := set["template"].(map[string]any)["spec"].(map[string]any)
	container := pod["containers"].([]any)[0].(map[string]any)
	grace, err := pod["terminationGracePeriodSeconds"].(json.Number).Int64()
	require.NoError(t, err)
	require.Greater(t, time.Duration(grace)*time.Second, config.Runtime.StopDelay+config.Runtime.DrainTimeout)
	require.Equal(t, set["selector"].(map[string]any)["matchLabels"], set["template"].(map[string]any)["metadata"].(map[string]any)["labels"])

	port := container["ports"].([]any)[0].(map[string]any)["containerPort"].(json.Number).String()
	require.Equal(t, ":"+port, strings.TrimPrefix(config.Listeners[0].Addresses[0].String(), "[::]"))
	service := manifest(t, "kubernetes/metallb.yaml", "Service")["spec"].(map[string]any)["ports"].([]any)[0].(map[string]any)
	require.Equal(t, port, service["targetPort"].(json.Number).String())
	for _, probe := range []string{"livenessProbe", "readinessProbe"} {
		get := container[probe].(map[string]any)["httpGet"].(map[string]any)
		at := get["host"].(string) + ":" + get["port"].(json.Number).String()
		require.True(t, slices.ContainsFunc(config.Admin.Listen, func(a conf.Address) bool { return a.String() == at }), "%s: no API at %s", probe, at)
	}
	mounted := map[string]string{}
	for _, m := range container["volumeMounts"].([]any) {
		mounted[m.(map[string]any)["mountPath"].(string)] = m.(map[string]any)["name"].(string)
	}
	require.Contains(t, mounted, filepath.Dir(config.Runtime.StateFile))
	require.Contains(t, mounted, filepath.Dir(config.Admin.Listen[0].Path))
	require.Equal(t, "config", mounted["/etc/weir"])
}
