// Forwards the packets of promoted sessions between client and server. It is attached to the ingress of interfaces (tcx).
//
// User space fills the record of a session, then inserts the key of each direction. A packet with such a key gets the
// addresses and ports of the other leg. Between two interfaces it is sent there; on the loopback interface it goes on to the
// stack, which delivers it to the socket that has these addresses. Everything else is left to the stack.
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Verdicts of tcx programs (linux/bpf.h since 6.6). */
#define TCX_NEXT (-1)
#define TCX_DROP 2

/* linux/icmp.h and linux/icmpv6.h need the C library's headers. */
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMPV6_PKT_TOOBIG 2

struct icmp {
	__u8 type, code;
	__be16 checksum;
	__be32 rest;
};

#define LOOPBACK 1 /* index of lo in every network namespace */

enum state {
	STATE_FREE,
	STATE_WATCH,   /* packets are noted and left to user space */
	STATE_FORWARD, /* packets are forwarded */
	/* All packets are left to user space: */
	STATE_CHECK,   /* until it has looked at the routes again */
	STATE_MOVED,   /* since one has come another way */
	STATE_TOO_BIG, /* since a router has refused one for its size */
};

struct address {
	__u32 word[4]; /* an IPv4 address is in the last word, the others are zero */
};

struct key {
	struct address source, dest;
	__u16 source_port, dest_port;
	__u8 protocol, pad[3];
};

/* The packets of one direction. */
struct direction {
	struct address source, dest; /* after the translation */
	__u16 source_port, dest_port;
	__u32 arrives; /* interface on which packets of this direction arrive; 0 = none has */
	__u32 leaves;  /* interface through which they are sent on */
	__u32 pad;
	__u64 packets, bytes; /* forwarded; bytes without headers */
	__u64 last;           /* time of the last one, CLOCK_MONOTONIC in ns */
};

struct session {
	__u32 state;
	__u32 inside; /* packets that are being forwarded and not counted yet */
	struct direction direction[2]; /* from the client, from the server */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2);
	__type(key, struct key);
	__type(value, __u32); /* 2 × number of the session + direction */
} keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

#define READ(x) (*(volatile typeof(x) *)&(x))

static __always_inline __u64 changed32(__u64 sum, __u32 from, __u32 to)
{
	return sum + (__u32)~from + to;
}

static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline void change_state(struct session *s, __u32 from, __u32 to)
{
	__sync_val_compare_and_swap(&s->state, from, to);
}

/* watch notes where a packet has arrived. Once both directions have been seen, the session is forwarded, from the next packet
 * on: either all of it is on the loopback interface, or nothing is. */
static __always_inline void watch(struct session *s, __u32 way, __u32 interface)
{
	struct direction *this = &s->direction[way & 1], *other = &s->direction[(way & 1) ^ 1];
	bool local = interface == LOOPBACK;

	this->arrives = interface;
	__u32 back = READ(other->arrives);
	if (back && (back == LOOPBACK) == local && (this->leaves == LOOPBACK) == local && (other->leaves == LOOPBACK) == local)
		change_state(s, STATE_WATCH, STATE_FORWARD);
}

/* What is known of a UDP datagram. */
struct datagram {
	struct key key;
	__u32 ip, udp; /* offsets of the headers */
	__u32 ttl;
	__u16 checksum, size; /* size: without the header, of one that is not joined */
	bool ipv6;
};

/* parse reads the headers. It returns false for what is not forwarded: other protocols, IP options and extensions, fragments. */
static __always_inline bool parse(struct __sk_buff *skb, struct datagram *d)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp;

	d->ip = ETH_HLEN;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->protocol != IPPROTO_UDP || (ip->frag_off & bpf_htons(0x3fff)))
			return false;
		d->key.source.word[3] = ip->saddr;
		d->key.dest.word[3] = ip->daddr;
		d->ttl = ip->ttl;
		d->udp = ETH_HLEN + sizeof *ip;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) > end || ip->nexthdr != IPPROTO_UDP)
			return false;
		__builtin_memcpy(&d->key.source, &ip->saddr, sizeof d->key.source);
		__builtin_memcpy(&d->key.dest, &ip->daddr, sizeof d->key.dest);
		d->ttl = ip->hop_limit;
		d->ipv6 = true;
		d->udp = ETH_HLEN + sizeof *ip;
	} else {
		return false;
	}
	udp = data + d->udp;
	if ((void *)(udp + 1) > end)
		return false;
	d->key.source_port = udp->source;
	d->key.dest_port = udp->dest;
	d->key.protocol = IPPROTO_UDP;
	d->checksum = udp->check;
	d->size = bpf_ntohs(udp->len) - sizeof *udp;
	return true;
}

/* translate writes the addresses, ports and checksums of the other leg. hops is what the packet loses of its lifetime. */
static __always_inline int translate(struct __sk_buff *skb, struct datagram *d, struct direction *to, __u32 hops)
{
	__u64 addresses = 0, ports = 0;
	__u32 flags = BPF_F_MARK_MANGLED_0, i;

	for (i = d->ipv6 ? 0 : 3; i < 4; i++) {
		addresses = changed32(addresses, d->key.source.word[i], to->source.word[i]);
		addresses = changed32(addresses, d->key.dest.word[i], to->dest.word[i]);
	}
	ports = changed32(0, d->key.source_port, to->source_port);
	ports = changed32(ports, d->key.dest_port, to->dest_port);
	if (d->ipv6 || d->checksum) { /* 0 = IPv4 without a checksum; a sum that becomes 0 is sent as 0xffff */
		if (bpf_l4_csum_replace(skb, d->udp + 6, 0, fold(addresses), flags | BPF_F_PSEUDO_HDR) ||
		    bpf_l4_csum_replace(skb, d->udp + 6, 0, fold(ports), flags))
			return -1;
	}
	if (bpf_skb_store_bytes(skb, d->udp, &to->source_port, 4, 0))
		return -1;
	if (d->ipv6) {
		if (hops) {
			__u8 left = d->ttl - hops;
			if (bpf_skb_store_bytes(skb, d->ip + 7, &left, 1, 0))
				return -1;
		}
		return bpf_skb_store_bytes(skb, d->ip + 8, &to->source, 32, 0);
	}
	if (hops) {
		__u8 left = d->ttl - hops;
		addresses = changed32(addresses, bpf_htons(d->ttl << 8), bpf_htons(left << 8));
		if (bpf_skb_store_bytes(skb, d->ip + 8, &left, 1, 0))
			return -1;
	}
	if (bpf_l3_csum_replace(skb, d->ip + 10, 0, fold(addresses), 0))
		return -1;
	__u32 both[2] = {to->source.word[3], to->dest.word[3]};
	return bpf_skb_store_bytes(skb, d->ip + 12, both, 8, 0);
}

static __always_inline struct session *find(struct key *key, __u32 *way)
{
	__u32 *found = bpf_map_lookup_elem(&keys, key);
	if (!found)
		return NULL;
	__u32 number = *found >> 1;
	*way = *found & 1;
	return bpf_map_lookup_elem(&sessions, &number);
}

/* An error message, with the beginning of the packet that it is about. */
struct error4 {
	struct icmp icmp;
	struct iphdr ip;
	__be16 source, dest;
} __attribute__((packed));

struct error6 {
	struct icmp icmp;
	struct ipv6hdr ip;
	__be16 source, dest;
} __attribute__((packed));

/* note_error ends the forwarding of a session about whose datagram a router says that it is too large: the sender is behind
 * this host, and the router's message ends here. User space sends datagrams of the size that the kernel now knows. */
static __always_inline void note_error(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct key key = {.protocol = IPPROTO_UDP};

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;
		struct error4 e;
		if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->protocol != IPPROTO_ICMP || (ip->frag_off & bpf_htons(0x3fff)))
			return;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof *ip, &e, sizeof e))
			return;
		if (e.icmp.type != ICMP_DEST_UNREACH || e.icmp.code != ICMP_FRAG_NEEDED || e.ip.ihl != 5 || e.ip.protocol != IPPROTO_UDP)
			return;
		key.source.word[3] = e.ip.daddr;
		key.dest.word[3] = e.ip.saddr;
		key.source_port = e.dest;
		key.dest_port = e.source;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		struct error6 e;
		if ((void *)(ip + 1) > end || ip->nexthdr != IPPROTO_ICMPV6)
			return;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof *ip, &e, sizeof e))
			return;
		if (e.icmp.type != ICMPV6_PKT_TOOBIG || e.ip.nexthdr != IPPROTO_UDP)
			return;
		__builtin_memcpy(&key.source, &e.ip.daddr, sizeof key.source);
		__builtin_memcpy(&key.dest, &e.ip.saddr, sizeof key.dest);
		key.source_port = e.dest;
		key.dest_port = e.source;
	} else {
		return;
	}
	__u32 way;
	struct session *s = find(&key, &way);
	if (s)
		change_state(s, STATE_FORWARD, STATE_TOO_BIG);
}

SEC("tcx/ingress")
int forward(struct __sk_buff *skb)
{
	struct datagram d = {};

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return TCX_NEXT; /* for another host, or for an interface above this one */
	if (!parse(skb, &d)) {
		note_error(skb);
		return TCX_NEXT;
	}
	__u32 way;
	struct session *s = find(&d.key, &way);
	if (!s)
		return TCX_NEXT;
	switch (READ(s->state)) {
	case STATE_WATCH:
		watch(s, way, skb->ifindex);
		return TCX_NEXT;
	case STATE_FORWARD:
		break;
	default:
		return TCX_NEXT;
	}
	struct direction *to = &s->direction[way & 1];
	if (READ(to->arrives) != skb->ifindex) {
		change_state(s, STATE_FORWARD, STATE_MOVED);
		return TCX_NEXT;
	}
	__u32 leaves = READ(to->leaves), hops = leaves != LOOPBACK, mtu = 0;
	if (d.ttl <= hops)
		return TCX_NEXT; /* its lifetime is over */
	if (hops && bpf_check_mtu(skb, leaves, &mtu, 0, BPF_MTU_CHK_SEGS))
		return TCX_NEXT; /* user space sends it in fragments; or the interface is gone */

	/* User space sets the state, and then waits until no packet is inside, before it reads the counters for good. */
	__sync_fetch_and_add(&s->inside, 1);
	if (READ(s->state) != STATE_FORWARD) {
		__sync_fetch_and_add(&s->inside, -1);
		return TCX_NEXT;
	}
	__u32 size = d.size, packets = 1; /* the frame may be padded */
	if (skb->gso_size) {
		size = skb->len - d.udp - sizeof(struct udphdr);
		packets = (size + skb->gso_size - 1) / skb->gso_size;
	}
	int failed = translate(skb, &d, to, hops);
	if (!failed) {
		__sync_fetch_and_add(&to->packets, packets);
		__sync_fetch_and_add(&to->bytes, size);
		to->last = bpf_ktime_get_ns();
	}
	__sync_fetch_and_add(&s->inside, -1);
	if (failed)
		return TCX_DROP; /* it may be half translated */
	if (!hops)
		return TCX_NEXT;
	return bpf_redirect_neigh(leaves, NULL, 0, 0);
}

char _license[] SEC("license") = "GPL";
