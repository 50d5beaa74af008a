package rollout_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// TestFleetAgreesAfterFailures rolls revisions out while nodes are killed or stand still and etcd is killed. In the end
// no roll-out is left and all nodes run the revision in force.
func TestFleetAgreesAfterFailures(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "5s")
	f.apply(f.nodes[0], config(f.host.Addr()), "--pause", "0s")
	closed := nettest.ReserveOn(t, "10.91.0.1")
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	etcd := f.etcd.Members[0]
	for round := range weirtest.Scaled(2) {
		servers := []string{f.host.Addr()}
		if random.IntN(3) == 0 {
			servers = []string{closed}
		}
		asked := f.nodes[random.IntN(3)]
		asked.api.Do("POST /v1/fleet/config", fmt.Sprintf(`{"text": %s, "pause": "%ds", "canary": %d}`,
			quoted(config(servers...)+fmt.Sprintf("# round %d\n", round)), random.IntN(5), random.IntN(3)))
		time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond) // the moment of the failure is random
		victim := f.nodes[random.IntN(3)]
		switch random.IntN(4) {
		case 0:
			victim.weir.Kill()
			victim.start()
		case 1:
			victim.weir.Signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(random.IntN(9000)) * time.Millisecond)
			victim.weir.Signal(syscall.SIGCONT)
		case 2:
			etcd.Kill()
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			f.etcd.Up()
		case 3:
			victim.api.RunCommand("fleet", "rollback")
		}
		nettest.Wait(t, patience, "the nodes to agree", func() bool {
			for _, n := range f.nodes {
				s := n.shared()
				if s.Error != "" || s.Rollout == nil || s.Rollout.Active || s.Revision != s.Rollout.Current || len(s.Nodes) != 3 || s.Rollout.ID != f.nodes[0].shared().Rollout.ID {
					return false
				}
			}
			return true
		})
	}
}
