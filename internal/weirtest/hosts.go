package weirtest

import (
	"strings"
	"testing"

	"weir/internal/nettest"
)

// StartLetters starts one server per letter, each of which sends its letter, and returns them by letter.
func StartLetters(t *testing.T, names string) map[string]*nettest.Host {
	out := map[string]*nettest.Host{}
	for _, name := range strings.Split(names, "") {
		out[name] = nettest.Start(t, nettest.SendText(name))
	}
	return out
}

// WeightedLevel returns a level of the hosts in a form such as "A=1 B=4", in that order; further options follow a
// comma.
func WeightedLevel(hosts map[string]*nettest.Host, spec string) []string {
	var out []string
	for _, field := range strings.Fields(spec) {
		name, options, _ := strings.Cut(field, "=")
		weight, more, _ := strings.Cut(options, ",")
		s := hosts[name].Addr() + " name=" + name
		if weight != "" {
			s += " weight=" + weight
		}
		out = append(out, strings.TrimSpace(s+" "+strings.ReplaceAll(more, ",", " ")))
	}
	return out
}
