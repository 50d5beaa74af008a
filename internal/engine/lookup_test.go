package engine

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The answer of one address family is lost on the way. Those of the other are used, and addresses that were known before
// stay.
func TestLookupUsesTheFamilyThatAnswers(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, lost := range []string{"ip4", "ip6"} {
		synctest.Test(t, func(t *testing.T) {
			lookup := func(ctx context.Context, host string) ([]netip.Addr, error) {
				return lookupFamilies(ctx, host, func(ctx context.Context, network, _ string) ([]netip.Addr, error) {
					switch network {
					case lost:
						<-ctx.Done()
						return nil, ctx.Err()
					case "ip4":
						return []netip.Addr{four}, nil
					}
					return []netip.Addr{six}, nil
				})
			}
			want := map[string]netip.Addr{"ip4": six, "ip6": four}[lost]
			begin := time.Now()
			found, failed := resolve(context.Background(), []string{"db"}, nil, lookup)
			require.Empty(t, failed)
			require.Equal(t, []netip.Addr{want}, found["db"])
			require.Equal(t, otherFamilyWait, time.Since(begin))
			found, _ = resolve(context.Background(), []string{"db"}, addresses{"db": {four, six}}, lookup)
			require.Equal(t, []netip.Addr{four, six}, found["db"])
		})
	}
}

func TestLookupWithoutOneFamilyIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addrs, err := lookupFamilies(context.Background(), "db", func(_ context.Context, network, _ string) ([]netip.Addr, error) {
			if network == "ip6" {
				return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		})
		require.NoError(t, err)
		require.Len(t, addrs, 1)
	})
}
