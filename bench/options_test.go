package main

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.rows, len(rows()))
	require.Equal(t, []string{direct, bare, "haproxy", "nginx", weirNew}, o.products)
	require.GreaterOrEqual(t, o.rounds, 5)

	o, err = parseOptions([]string{"-weir-old", "/old", "-products", "weir", "-rows", "short, bulk-4"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{weirOld, weirNew}, o.products)
	require.Len(t, o.rows, 2)

	o, err = parseOptions([]string{"-congestion", "cubic, bbr"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"cubic", "bbr"}, o.congestion)

	o, err = parseOptions([]string{"-quick", "-rounds", "2"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, []int{o.rounds, o.seconds})
	require.Len(t, o.rows, 4)

	for _, args := range [][]string{
		{"-rows", "nothing"}, {"-rows", ""}, {"-products", "caddy"}, {"-rounds", "0"}, {"-seconds", "x"}, {"extra"},
	} {
		_, err := parseOptions(args, io.Discard)
		require.Error(t, err, args)
	}
}

func TestProductsAreAllConstructed(t *testing.T) {
	for _, name := range productNames() {
		if _, err := newProduct(name, options{}); err != nil {
			require.NotContains(t, err.Error(), "unknown product")
		}
	}
	_, err := newProduct("caddy", options{})
	require.ErrorContains(t, err, "unknown product")
	_, err = newProduct(weirNew, options{weir: "/nowhere/weir"})
	require.ErrorContains(t, err, "no binary")
}

func TestJobsAlternate(t *testing.T) {
	r := &runner{
		options:  options{rows: rows()[:1], rounds: 3, seconds: 3},
		products: []product{{name: direct}, {name: "haproxy"}, {name: "nginx"}},
	}
	var order []string
	for _, j := range r.jobs() {
		order = append(order, j.product.name)
	}
	require.Equal(t, []string{
		direct, "haproxy", "nginx",
		"haproxy", "nginx", direct,
		"nginx", direct, "haproxy",
	}, order)

	r.options.rows, r.options.rounds = []row{{family: familyServers, brief: true}}, 1
	require.Len(t, r.jobs(), 2, "no direct run where it has no meaning")
}

func TestWholeMeasurementStaysUnderAnHour(t *testing.T) {
	o, err := parseOptions(nil, io.Discard)
	require.NoError(t, err)
	r := &runner{options: o}
	for _, name := range o.products {
		r.products = append(r.products, product{name: name})
	}
	require.Less(t, r.estimate(r.jobs()), time.Hour)
}
