package soak

// Random scripts of sessions.

import (
	"math"
	"math/rand/v2"
)

const maxStream = 4 << 20

// newScript returns a random script.
func newScript(r *rand.Rand, id uint64) script {
	size := func(most int) uint32 { // logarithmic: small sizes are as frequent as large ones
		if r.IntN(20) == 0 {
			return 0
		}
		return uint32(math.Exp(r.Float64() * math.Log(float64(most))))
	}
	sc := script{
		id: id, serverReset: never, clientReset: never, chunk: 1 + size(64<<10), order: order(r.IntN(3)), up: size(maxStream), down: size(maxStream),
	}
	switch n := r.IntN(100); {
	case n < 40:
		sc.echo = true
	case n < 65: // two streams
	case n < 73:
		sc.serverReset = uint32(r.Int64N(int64(sc.down) + 1))
		sc.order = anyOrder
	case n < 81:
		sc.echo = r.IntN(2) == 0
		sc.clientReset = uint32(r.Int64N(int64(sc.up) + 1))
		sc.order = anyOrder
	case n < 86:
		sc.pause, sc.up, sc.down = uint32(1000+r.IntN(int(maxClientPause.Milliseconds())-1000)), size(1000), size(1000)
	case n < 91:
		sc.slow, sc.down = true, size(1<<20)
	default:
		sc.up, sc.down = uint32(r.IntN(10)), uint32(r.IntN(10))
	}
	sc.up, sc.down = min(sc.up, 4000*sc.chunk), min(sc.down, 4000*sc.chunk) // bounds the time of sessions in single bytes
	if sc.echo {
		sc.down, sc.order = sc.up, anyOrder
		if sc.serverReset != never {
			sc.serverReset = min(sc.serverReset, sc.up)
		}
	}
	if sc.serverReset != never {
		sc.serverReset = min(sc.serverReset, sc.down)
	}
	if sc.clientReset != never {
		sc.clientReset = min(sc.clientReset, sc.up)
	}
	return sc
}
