package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A listener that selects a level by name uses that level through every reload that moves it.
func TestReloadMovesLevelsUnderLoad(t *testing.T) {
	t.Parallel()
	_, a := startNamed(t, "A")
	_, b := startNamed(t, "B")
	config := func(levels ...string) string {
		text := strings.Replace(cluster("", levels...), "cluster = \"c\"\n", "cluster = \"c\"\nlevels = [\"far\"]\n", 1)
		for _, l := range levels {
			name := map[string]string{a: "near", b: "far"}[l]
			text = strings.Replace(text, "[[cluster.c.level]]\nservers = [\""+l, "[[cluster.c.level]]\nname = \""+name+"\"\nservers = [\""+l, 1)
		}
		return text
	}
	s := startScript(t, config(a, b))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				text := s.request()
				mu.Lock()
				got[text]++
				mu.Unlock()
			}
		})
	}
	for range 300 {
		s.reload(config(b, a))
		s.reload(config(a, b))
	}
	close(stop)
	wg.Wait()
	fmt.Println(got)
	require.Zero(t, got["A"])
}
