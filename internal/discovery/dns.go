package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weir/conf"
)

// dnsRecords is a provider that looks up SRV or address records. The standard library's resolver gives no TTL.
type dnsRecords struct {
	spec       *conf.Discover
	resolvConf string
}

func newDNS(spec *conf.Discover) *dnsRecords { return &dnsRecords{spec, "/etc/resolv.conf"} }

// Limits of DNS messages and records.
const (
	udpSize    = 1232 // of answers that fit into one packet everywhere
	maxWeight  = 256  // of a server; weights of records reach 65535
	dnsTries   = 2    // of each resolver in one question
	maxDNSTTL  = 24 * time.Hour
	maxTargets = 1000 // names of SRV records that are looked up
)

// Ask implements Provider. A name that does not exist has no servers.
func (p *dnsRecords) Ask(ctx context.Context) (Answer, error) {
	resolvers, err := p.resolvers()
	if err != nil {
		return Answer{}, err
	}
	l := lookup{resolvers: resolvers, ttl: maxDNSTTL}
	var a Answer
	if p.spec.Record == "a" {
		addrs, err := l.addresses(ctx, dns.Fqdn(p.spec.Name))
		if err != nil {
			return a, err
		}
		for _, ip := range addrs {
			a.add(net.JoinHostPort(ip.String(), strconv.Itoa(p.spec.Port)), nil)
		}
	} else if err := l.services(ctx, dns.Fqdn(p.spec.Name), &a); err != nil {
		return a, err
	}
	if l.answered {
		a.TTL = l.ttl
	}
	return a, nil
}

// resolvers returns the addresses of the configured resolvers, else the system's.
func (p *dnsRecords) resolvers() (list []string, err error) {
	for _, at := range p.spec.Resolvers {
		list = append(list, at.Addr.String())
	}
	if len(list) > 0 {
		return list, nil
	}
	c, err := dns.ClientConfigFromFile(p.resolvConf)
	if err != nil {
		return nil, err
	}
	for _, host := range c.Servers {
		list = append(list, net.JoinHostPort(host, c.Port))
	}
	if len(list) == 0 {
		list = []string{"127.0.0.1:53"}
	}
	return list, nil
}

// lookup is one question with all its look-ups.
type lookup struct {
	resolvers []string
	ttl       time.Duration // the shortest so far
	answered  bool          // a record has been used
}

// services adds the servers of the SRV records with the lowest priority.
func (l *lookup) services(ctx context.Context, name string, a *Answer) error {
	reply, err := l.exchange(ctx, name, dns.TypeSRV)
	if err != nil {
		return err
	}
	var records []*dns.SRV
	for _, rr := range reply.Answer {
		switch r := rr.(type) {
		case *dns.SRV:
			records = append(records, r)
			l.note(rr)
		case *dns.CNAME:
			l.note(rr)
		}
	}
	records = slices.DeleteFunc(records, func(r *dns.SRV) bool { return r.Target == "." }) // the service is not available
	if len(records) == 0 {
		return nil
	}
	lowest := slices.MinFunc(records, func(x, y *dns.SRV) int { return cmp.Compare(x.Priority, y.Priority) }).Priority
	records = slices.DeleteFunc(records, func(r *dns.SRV) bool { return r.Priority != lowest })
	slices.SortFunc(records, func(x, y *dns.SRV) int {
		return cmp.Or(strings.Compare(x.Target, y.Target), cmp.Compare(x.Port, y.Port))
	})
	if over := len(records) - maxTargets; over > 0 {
		records, a.Dropped = records[:maxTargets], over
	}
	var weights []int
	for _, r := range records {
		weights = append(weights, int(r.Weight))
	}
	weights = scaleWeights(weights)
	known := addressesOf(reply.Extra)
	for i, r := range records {
		target := strings.ToLower(r.Target)
		addrs, found := known[target]
		if found {
			for _, rr := range reply.Extra {
				if strings.EqualFold(rr.Header().Name, target) {
					l.note(rr)
				}
			}
		} else if addrs, err = l.addresses(ctx, target); err != nil {
			return err
		}
		host := strings.TrimSuffix(target, ".")
		if len(addrs) == 0 {
			a.Reject(net.JoinHostPort(host, strconv.Itoa(int(r.Port))), "its name has no address")
			continue
		}
		port := strconv.Itoa(int(r.Port))
		a.add(net.JoinHostPort(addrs[0].String(), port), map[string]string{"name": net.JoinHostPort(host, port), "weight": strconv.Itoa(weights[i])})
	}
	return nil
}

// scaleWeights scales weights to those of servers. If all are 0, all are 1, which is the same share for each; else 0 becomes 1,
// because the share of a record with weight 0 is small and not none (RFC 2782).
func scaleWeights(weights []int) []int {
	most := max(1, slices.Max(weights))
	out := make([]int, len(weights))
	for i, w := range weights {
		if most > maxWeight {
			w = w * maxWeight / most
		}
		out[i] = max(1, w)
	}
	return out
}

// addressesOf returns the addresses of records by lower-case name, sorted, IPv4 first.
func addressesOf(records []dns.RR) map[string][]netip.Addr {
	found := map[string][]netip.Addr{}
	for _, rr := range records {
		var ip net.IP
		switch r := rr.(type) {
		case *dns.A:
			ip = r.A
		case *dns.AAAA:
			ip = r.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			name := strings.ToLower(rr.Header().Name)
			found[name] = append(found[name], addr.Unmap())
		}
	}
	for name, list := range found {
		slices.SortFunc(list, netip.Addr.Compare)
		found[name] = slices.Compact(list)
	}
	return found
}

// addresses looks up both families and returns the addresses, sorted, IPv4 first. A resolver that does not implement one family
// has none of it; any other failure of one is a failure, so that its servers stay.
func (l *lookup) addresses(ctx context.Context, name string) (all []netip.Addr, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		reply, err := l.exchange(ctx, name, kind)
		var code rcodeError
		if errors.As(err, &code) && kind == dns.TypeAAAA && len(all) > 0 && (code == dns.RcodeNotImplemented || code == dns.RcodeRefused) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, rr := range reply.Answer {
			switch rr.(type) {
			case *dns.A, *dns.AAAA, *dns.CNAME:
				l.note(rr)
			}
		}
		for _, list := range addressesOf(reply.Answer) {
			all = append(all, list...)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// note records the TTL of a record that is used.
func (l *lookup) note(rr dns.RR) {
	l.answered = true
	l.ttl = min(l.ttl, time.Duration(rr.Header().Ttl)*time.Second)
}

// rcodeError is the response code of a resolver that has not answered the question.
type rcodeError int

func (e rcodeError) Error() string { return "resolver answered " + dns.RcodeToString[int(e)] }

// exchange asks the resolvers in order until one answers. A name that does not exist is an answer.
func (l *lookup) exchange(ctx context.Context, name string, kind uint16) (reply *dns.Msg, err error) {
	question := new(dns.Msg)
	question.SetQuestion(name, kind)
	question.SetEdns0(udpSize, false)
	deadline, _ := ctx.Deadline()
	attempts := dnsTries * len(l.resolvers)
	for i := range attempts {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		one, cancel := context.WithTimeout(ctx, max(time.Until(deadline)/time.Duration(attempts-i), 10*time.Millisecond))
		resolver := l.resolvers[i%len(l.resolvers)]
		client := dns.Client{Net: "udp", UDPSize: udpSize}
		reply, _, err = client.ExchangeContext(one, question, resolver)
		if err == nil && reply.Truncated {
			client.Net = "tcp"
			reply, _, err = client.ExchangeContext(one, question, resolver)
		}
		cancel()
		if err == nil && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
			err = rcodeError(reply.Rcode)
		}
		if err == nil {
			return reply, nil
		}
		err = fmt.Errorf("%s %s: %w", dns.TypeToString[kind], strings.TrimSuffix(name, "."), err)
	}
	return nil, err
}
