/* struct pkt: a packet on its way through the stages, and what they have learned of it. */
#ifndef THALWEG_PKT_H
#define THALWEG_PKT_H

#include "bpf/abi.h"

struct pkt {        /* without pointers: functions proved_alone are given it as plain memory */
  struct tuple now; /* as the packet reads; of an ICMP error: as the other side would answer what it quotes */
  struct tuple to;  /* as it will leave */
  struct hop hop;   /* where to */
  struct addr outer;   /* source of the tunnel header taken off */
  __u64 now_ns;        /* when it came */
  __u64 epochs[2];     /* of the rule sets it is decided under */
  __u32 generation;    /* its low half: it counts changes of addresses */
  __u32 rule_sets[2];  /* of the opener (egress) and of the other side (ingress) */
  __u32 identities[2]; /* ditto */
  __u32 rule;          /* that allowed it */
  __u32 moved;         /* UDP to a backend: the row of that backend in the table moved */
  __u32 ifindex;       /* where it came in */
  __u32 length;        /* of the whole packet, bytes */
  union {
    __u32 fragment_id; /* as the header has it; asked for by stage 1 alone */
    __u32 stamp;       /* from stage 2 on: of its flow's row, when it was found */
  };
  __u32 end;               /* where its IP packet ends; padding may follow */
  __u16 l4;                /* where its headers begin; l3 below */
  __u16 quoted, quoted_l4; /* ditto, of the packet inside an ICMP error */
  __u8 l3;
  __u8 origin; /* enum origin */
  __u8 reason; /* enum drop_reason */
  __u8 protocol;
  __u8 tcp_flags;
  __u8 seen; /* FLOW_TCP_* of its flow, this packet included */
  __u8 source_mac[6];
  __u8 v4 : 1;       /* IPv4 headers, whatever the addresses' form */
  __u8 found : 1;    /* its flow has an entry */
  __u8 known : 1;    /* a valid flow entry answers everything: stages 3 to 5 have nothing to do */
  __u8 stale : 1;    /* its entry stands, but was decided under other rules or addresses */
  __u8 reply : 1;    /* it answers the flow's opener */
  __u8 nat : 1;      /* `to` differs from `now` */
  __u8 fragment : 1; /* a part of a datagram */
  __u8 later : 1;    /* a fragment other than the first: no ports of its own */
  __u8 tunneled : 1; /* it came in a tunnel header, now taken off */
  __u8 opening : 1;  /* its entry, if there is one, is of a flow that no one has answered yet */
  __u8 suspect : 1;  /* UDP to a backend of which it must be asked whether it still serves */
  __u8 dsr : 1; /* outside traffic that the backend's node answers by itself; not NAT: that node is another */
  __u8 occupied : 1; /* its key is that of another flow's NAT, in the other direction */
  __u8 shadowed : 1; /* an entry that is over, or left, still stands under one of its keys */
};

/* A packet with what leads to it and to its surroundings: for functions that stand in the entry's own frame.
 */
struct carried {
  struct pkt pkt;
  void* port;              /* the engine's own handle on the packet */
  const struct node* node; /* what this node is */
};
static __always_inline const struct node* node_of(const struct pkt* p) {
  return ((const struct carried*)p)->node;
}

/* An IPv4 address as it is. IPv6: two nodes may come to the same, but who is no node does not get so far
 * (1_parse.h). */
static __always_inline __u32 way_of_peer(const struct addr* peer) {
  if (!peer->halves[0]) return peer->words[3];
  return (__u32)((peer->halves[0] * 0x9e3779b97f4a7c15ull ^ peer->halves[1]) * 0xff51afd7ed558ccdull >> 32);
}

/* By which way a packet came: its origin and interface, or the node that tunnelled it here. Who may use an
 * address is checked once a way (stage 4), then remembered: the same addresses by another way are checked
 * again. */
static __always_inline __u32 way_of(const struct pkt* p) {
  return p->tunneled ? way_of_peer(&p->outer) : p->ifindex << 3 | p->origin;
}

/* Stages end a packet's way by saying why. */
static __always_inline enum verdict drop(struct pkt* p, enum drop_reason reason) {
  p->reason = reason;
  return DROP;
}

/* Whether a change of the sum came from the addresses (the pseudo-header) or from what the header itself
 * holds: a frame whose checksum is still to be finished by a device has only the first in it. */
enum checksum_part { PSEUDO_HEADER, PAYLOAD };

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* Both stand at even addresses. */
static __always_inline _Bool same_mac(const __u8* one, const __u8* other) {
  __u16 a[3], b[3];
  copy(a, __builtin_assume_aligned(one, 2), 6);
  copy(b, __builtin_assume_aligned(other, 2), 6);
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static __always_inline _Bool same_addr(const struct addr* one, const struct addr* other) {
  return one->halves[0] == other->halves[0] && one->halves[1] == other->halves[1];
}

static __always_inline _Bool is_none(const struct addr* address) {
  return !address->halves[0] && !address->halves[1];
}

static __always_inline _Bool is_v4(const struct addr* address) {
  return !address->halves[0] && address->words[2] == net32(0xffff);
}

/* Multicast, broadcast and link-local addresses stay on their link; loopback's and "this host" (RFC 1122
 * §3.2.1.3, RFC 4291 §2.5) on no link at all. */
static __always_inline _Bool is_confined(const struct addr* a) {
  if (is_v4(a))
    return (a->bytes[12] & 0xf0) >= 0xe0 || (a->bytes[12] == 169 && a->bytes[13] == 254) ||
           a->bytes[12] == 127 || a->bytes[12] == 0;
  if (!a->halves[0] && !a->words[2]) return 1;
  return a->bytes[0] == 0xff || (a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80);
}

/* In whole words, since that is how they are read soon after: a load that takes in several stores waits for
 * all of them to leave the CPU. Likewise ports. */
static __always_inline struct addr from_v4(__u32 address) {
  struct addr mapped = {.halves = {0, (__u64)address << 32 | net32(0xffff)}};
  return mapped;
}
static __always_inline void set_ports(struct tuple* t, __u16 source, __u16 destination) {
  const __u64 ports = (__u64)destination << 16 | source;
  copy(&t->source_port, &ports, sizeof ports);
}

/* Scatters flows evenly; the same on every machine. */
static __always_inline __u64 mix_of(const struct tuple* t, __u8 protocol) {
  __u64 mix = t->source.halves[1] ^ t->destination.halves[1] * 0x9e3779b97f4a7c15ull;
  mix ^= t->source.halves[0] ^ t->destination.halves[0];
  mix ^= (__u64)t->source_port << 32 | (__u64)t->destination_port << 16 | protocol;
  mix *= 0xff51afd7ed558ccdull;
  mix ^= mix >> 32;
  return mix * 0xc4ceb9fe1a85ec53ull;
}

static __always_inline _Bool is_reverse(const struct tuple* one, const struct tuple* other) {
  return same_addr(&one->source, &other->destination) && same_addr(&one->destination, &other->source) &&
         one->source_port == other->destination_port && one->destination_port == other->source_port;
}

static __always_inline struct tuple reversed(const struct tuple* one) {
  struct tuple other = {
      .source = one->destination,
      .destination = one->source,
      .source_port = one->destination_port,
      .destination_port = one->source_port,
  };
  return other;
}

#endif
