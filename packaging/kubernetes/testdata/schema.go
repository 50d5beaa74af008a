//go:build ignore

// This program writes a JSON schema of the kinds of Kubernetes objects that the manifests use, made from the Go types of the
// Kubernetes API. It needs k8s.io/api and is not part of the build: run it in a module of its own.
//
//	go run schema.go >schema.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type object = map[string]any

var definitions = object{}

func main() {
	kinds := []any{}
	known := []string{}
	for kind, of := range map[string]any{
		"v1 Namespace": core.Namespace{}, "v1 ConfigMap": core.ConfigMap{}, "v1 Secret": core.Secret{}, "v1 Service": core.Service{},
		"v1 ServiceAccount": core.ServiceAccount{}, "apps/v1 DaemonSet": apps.DaemonSet{}, "apps/v1 Deployment": apps.Deployment{},
		"policy/v1 PodDisruptionBudget": policy.PodDisruptionBudget{}, "rbac.authorization.k8s.io/v1 Role": rbac.Role{},
	} {
		version, name, _ := strings.Cut(kind, " ")
		kinds = append(kinds, object{
			"if":   object{"properties": object{"apiVersion": object{"const": version}, "kind": object{"const": name}}},
			"then": schema(reflect.TypeOf(of)),
		})
		known = append(known, name)
	}
	slices.Sort(known)
	slices.SortFunc(kinds, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	err := out.Encode(object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "made by schema.go from k8s.io/api v0.37.2",
		"type": "object", "required": []string{"apiVersion", "kind", "metadata"},
		"properties": object{"kind": object{"enum": known}}, "allOf": kinds, "$defs": definitions,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func schema(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[intstr.IntOrString]():
		return object{"type": []string{"integer", "string"}}
	case reflect.TypeFor[resource.Quantity]():
		return object{"type": []string{"integer", "number", "string"}}
	case reflect.TypeFor[meta.Time](), reflect.TypeFor[meta.MicroTime](), reflect.TypeFor[meta.Duration](), reflect.TypeFor[meta.FieldsV1]():
		return object{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string"}
		}
		return object{"type": "array", "items": schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schema(t.Elem())}
	case reflect.Struct:
		name := path.Base(path.Dir(t.PkgPath())) + "." + t.Name() // such as apps.DaemonSet
		if _, known := definitions[name]; !known {
			definitions[name] = nil // ends recursion
			definitions[name] = fields(t)
		}
		return object{"$ref": "#/$defs/" + name}
	}
	panic(t.String())
}

func fields(t reflect.Type) object {
	properties := object{}
	required := []string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if name == "" || strings.Contains(options, "inline") {
				add(f.Type)
				continue
			}
			properties[name] = schema(f.Type)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && name != "status" {
				required = append(required, name)
			}
		}
	}
	add(t)
	d := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		d["required"] = required
	}
	return d
}
