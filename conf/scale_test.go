package conf

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scaleConfigs returns configurations with n servers: in one level, or each in a cluster with a listener and checks.
func scaleConfigs(n int) map[string][]byte {
	var one, many bytes.Buffer
	fmt.Fprint(&one, "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\ncluster = \"c\"\n[cluster.c]\n[[cluster.c.level]]\nservers = [\n")
	for i := range n {
		address := fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255)
		fmt.Fprintf(&one, "  { address = %q, name = \"s%d\", weight = 10 },\n", address, i)
		fmt.Fprintf(&many, "[[listener]]\nname = \"l%d\"\naddress = \"127.0.%d.%d:80\"\ncluster = \"c%[1]d\"\n[cluster.c%[1]d]\n"+
			"[[cluster.c%[1]d.level]]\nservers = [\"%[4]s weight=5\"]\n[[cluster.c%[1]d.check]]\ntype = \"tcp\"\n", i, i>>8, i&255, address)
	}
	fmt.Fprint(&one, "]\n[[cluster.c.check]]\ntype = \"tcp\"\n")
	return map[string][]byte{"one cluster": one.Bytes(), "many clusters": many.Bytes()}
}

// chainConfig returns n listeners, each of whose servers is the next listener.
func chainConfig(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "[[listener]]\nname = \"l%d\"\naddress = \"127.1.%d.%d:80\"\ncluster = \"c%[1]d\"\n[cluster.c%[1]d]\n[[cluster.c%[1]d.level]]\nservers = [\"127.1.%[4]d.%[5]d:80\"]\n",
			i, i>>8, i&255, (i+1)>>8, (i+1)&255)
	}
	return b.Bytes()
}

// cpuTime returns the processor time that this process has used.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Reading takes time in proportion to the size, so that a reload of many servers, or a request for a plan, is bounded.
func TestParseTimeIsLinear(t *testing.T) {
	texts := scaleConfigs(10000)
	texts["chain"] = chainConfig(10000)
	for name, text := range texts {
		begin := cpuTime(t)
		_, err := Parse("weir.toml", text)
		require.NoError(t, err, name)
		require.Less(t, cpuTime(t)-begin, 6*time.Second, name) // some two seconds with two processors
	}
}

// The components of random graphs are those that a search finds.
func TestCycles(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		next := make([][]int, 1+r.IntN(12))
		for i := range next {
			for range r.IntN(3) {
				next[i] = append(next[i], r.IntN(len(next)))
			}
		}
		reach := func(from, to int) bool {
			seen := map[int]bool{from: true}
			for todo := []int{from}; len(todo) > 0; todo = todo[1:] {
				if todo[0] == to {
					return true
				}
				for _, n := range next[todo[0]] {
					if !seen[n] {
						seen[n] = true
						todo = append(todo, n)
					}
				}
			}
			return false
		}
		group := cycles(next)
		for a := range next {
			for b := range next {
				require.Equal(t, reach(a, b) && reach(b, a), group[a] == group[b], "seed %d: %v: %d and %d", seed, next, a, b)
			}
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		for name, text := range scaleConfigs(n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Parse("weir.toml", text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
