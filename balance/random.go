package balance

// random draws two different servers by weight and picks the one with fewer sessions per weight; on a tie, the first
// one drawn. With two choices the longest queue of n servers is O(log log n), with one O(log n / log log n):
// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001.
type random struct{ rng *rng }

func (r random) pick(l *level, _ pickInput) int {
	one := l.tree.find(r.below(l.total))
	if l.running.n == 1 {
		return one
	}
	step := l.steps[one]
	l.tree.set(one, 0)
	other := l.tree.find(r.below(l.total - step))
	l.tree.set(one, step)
	if l.load[other]*step < l.load[one]*l.steps[other] {
		return other
	}
	return one
}

// below returns a number from 0 to n-1. The bias of the remainder, n in 2⁶⁴, is not measurable.
func (r random) below(n int64) int64 { return int64(r.rng.Uint64() % uint64(n)) }

// tree holds the steps of a level's slots. Changing a step and finding the slot at a cumulative sum both take O(log n):
// Fenwick, "A New Data Structure for Cumulative Frequency Tables", Software: Practice and Experience 24(3), 1994.
type tree struct {
	sums  []int64 // sums[k] is the sum of the k&-k steps up to and including slot k-1
	steps []int64
	top   int // the largest power of two not above the number of slots
}

func newTree(n int) *tree {
	t := &tree{sums: make([]int64, n+1), steps: make([]int64, n), top: 1}
	for t.top*2 <= n {
		t.top *= 2
	}
	return t
}

func (t *tree) set(i int, step int64) {
	by := step - t.steps[i]
	t.steps[i] = step
	for k := i + 1; k < len(t.sums); k += k & -k {
		t.sums[k] += by
	}
}

// find returns the slot i for which the steps before i sum to at most x, and the steps up to and including i to more
// than x.
func (t *tree) find(x int64) int {
	k := 0
	for half := t.top; half > 0; half /= 2 {
		if next := k + half; next < len(t.sums) && t.sums[next] <= x {
			k, x = next, x-t.sums[next]
		}
	}
	return k
}
