/* Keys, values, verdicts and drop reasons: what the packet path, the agent and the tools agree on.
 * Valid C11 and C++. Every struct is free of implicit padding, so keys compare by bytes. */
#ifndef THALWEG_BPF_ABI_H
#define THALWEG_BPF_ABI_H

#include <linux/types.h>

/* IPv4 as v4-mapped IPv6 (RFC 4291 §2.5.5.2), network order. */
struct addr {
  union {
    __u8 bytes[16];
    __u32 words[4];
    __u64 halves[2];
  };
};

/* Key of an LPM table: prefixlen counts from the start of the 16 bytes (an IPv4 /24 is 120). */
struct prefix {
  __u32 prefixlen;
  __u8 bytes[16];
};

/* ---- what this node is -------------------------------------------------------------------------------- */

struct node {
  struct addr v4; /* this node's own addresses on the underlay; all zero: none */
  struct addr v6;
  __u32 uplink_ifindex;   /* the interface to the underlay */
  __u32 host_ifindex;     /* the host's leg into the path: packets of the host stack enter and leave here */
  __u16 tunnel_port;      /* VXLAN UDP port, network order (RFC 7348: 4789) */
  __u16 mtu;              /* largest inner packet, bytes */
  __u16 masquerade_first; /* source ports for masquerade, host order, both ends included */
  __u16 masquerade_last;
  __u32 vni;        /* VXLAN network identifier, host order */
  __u32 flags;      /* NODE_* */
  __u8 host_mac[6]; /* of the host's leg: what a packet handed to the host is addressed to */
  __u8 pad[2];
  __u64 netns_cookie; /* of the host's network namespace; 0: not known */
};
#define NODE_MASQUERADE 1u /* pods reach the world with the node's address */

/* ---- where addresses are ------------------------------------------------------------------------------ */

enum route_kind {
  ROUTE_WORLD = 0,    /* outside the cluster (also: no row) */
  ROUTE_HOST,         /* an address of this node itself */
  ROUTE_TUNNEL,       /* on another node: VXLAN to peer */
  ROUTE_DIRECT,       /* on another node of the same segment: peer is the L3 next hop */
  ROUTE_POD_CIDR,     /* this node's own podCIDR: only endpoints live there, the rest is unreachable */
  ROUTE_SERVICE_CIDR, /* only services live there */
};

struct route {
  struct addr peer; /* the other node's underlay address */
  __u32 kind;       /* enum route_kind */
  __u16 flags;      /* ROUTE_NODE_ADDRESS, ROUTE_NEIGHBOUR */
  __u16 mtu;        /* largest packet to there, before any tunnel header; 0: the node's */
};
#define ROUTE_NODE_ADDRESS 1u /* the row is a node's own address, not a podCIDR */
#define ROUTE_NEIGHBOUR    2u /* ROUTE_TUNNEL: no router stands between here and the peer */

/* A pod on this node. */
struct endpoint {
  __u32 ifindex;    /* host side of its veth */
  __u32 rule_set;   /* index into rule_sets; 0: no policy selects it */
  __u8 mac[6];      /* of the pod's interface */
  __u8 host_mac[6]; /* of the host side: the pod's gateway */
  __u32 flags;
};

/* ---- policy ------------------------------------------------------------------------------------------- */

#define IDENTITY_NONE 0u          /* the class of addresses no selector matches */
#define IDENTITY_ANY  0xffffffffu /* in rule keys only: a rule for every peer */

enum direction { INGRESS = 0, EGRESS = 1 };

/* What equal subjects share: the set of policies that select them. Row 0 stays zero: no isolation. */
struct rule_set {
  __u64 epoch; /* hash of the set's content, never 0 once in force. 0: in transition; decide, but cache
                  nothing */
  __u32 flags; /* RULE_SET_* */
  __u32 pad;
};
#define RULE_SET_ISOLATES_INGRESS 1u
#define RULE_SET_ISOLATES_EGRESS  2u

/* Longest prefix over the bytes after prefixlen. A rule for every protocol ends after direction (72 bits),
 * for every port of a protocol after protocol (80), for a port range within port (81 … 96). */
struct rule_key {
  __u32 prefixlen;
  __u32 rule_set;
  __u32 identity; /* the peer's, or IDENTITY_ANY */
  __u8 direction; /* enum direction, seen from the subject */
  __u8 protocol;
  __u16 port; /* destination port, network order */
};
#define RULE_BITS_ANY_PROTOCOL 72u
#define RULE_BITS_ANY_PORT     80u
#define RULE_BITS_ONE_PORT     96u

struct rule {
  __u32 id;      /* names the API rule in `thalweg why`; the agent keeps the text */
  __u32 verdict; /* enum rule_verdict */
};
enum rule_verdict { RULE_ALLOW = 0, RULE_DENY = 1 };

/* ---- services ----------------------------------------------------------------------------------------- */

/* port 0 and protocol 0: the address belongs to a service, whatever the port. */
struct service_key {
  struct addr address;
  __u16 port;    /* network order */
  __u8 protocol; /* IPPROTO_* */
  __u8 pad[5];
};

/* For whom a service's endpoints are chosen: internalTrafficPolicy rules the first, externalTrafficPolicy the
 * second. */
enum audience { INSIDE = 0, OUTSIDE };

struct service {
  __u32 backends[2]; /* by audience: slots 0 … n-1 exist in the table backends */
  __u32 affinity_s;  /* ClientIP affinity timeout, seconds; 0: none */
  __u32 flags;       /* SERVICE_* */
  __u32 maglev;      /* entries of the lookup table for outside traffic, a prime; 0: none, choose by random */
  __u32 pad;
};
#define SERVICE_CLUSTER_IP    1u
#define SERVICE_NODE_PORT     2u
#define SERVICE_LOAD_BALANCER 4u
#define SERVICE_EXTERNAL_IP   8u
#define SERVICE_APART         16u  /* the outside has slots of its own; otherwise it uses the inside's */
#define SERVICE_INSIDE_LOCAL  32u  /* internalTrafficPolicy: Local. Without an endpoint: drop, not reject */
#define SERVICE_OUTSIDE_LOCAL 64u  /* externalTrafficPolicy: Local; the client's address is kept */
#define SERVICE_SOURCE_RANGES 128u /* only clients in the table source_ranges */
#define SERVICE_DSR           256u /* the backend's node answers outside clients itself */

struct backend_key {
  struct service_key service;
  __u32 slot;
  __u32 audience; /* enum audience */
};

struct backend {
  struct addr address;
  __u16 port; /* network order */
  __u8 pad[6];
};

/* That a backend serves: asked for flows which outlive a change (UDP) and clients which come back (affinity).
 * Only services with UDP or affinity have these rows. */
struct member_key {
  struct service_key service;
  struct addr address;
  __u16 port;    /* network order */
  __u8 audience; /* enum audience */
  __u8 pad[5];
};

/* Maglev (Eisenbud et al., NSDI 2016): position → slot, in rows of MAGLEV_ROW positions. */
#define MAGLEV_ROW 64u
struct maglev_key {
  struct service_key service;
  __u32 row; /* positions row * MAGLEV_ROW … */
  __u32 pad;
};
struct maglev_row {
  __u16 slots[MAGLEV_ROW];
};

/* loadBalancerSourceRanges: longest prefix over the bytes after prefixlen. */
struct source_range_key {
  __u32 prefixlen; /* SOURCE_RANGE_BITS + the client prefix's length (an IPv4 /24 is 120) */
  __u16 port;      /* network order */
  __u8 protocol;
  __u8 pad;
  struct addr address; /* the service's */
  struct addr client;
};
#define SOURCE_RANGE_BITS 160u

struct affinity_key {
  struct service_key service;
  struct addr client;
};

struct affinity {
  __u64 last_seen_ns;
  struct backend backend;
};

/* UDP flows look whether the row of their backend has changed; then whether it still serves. Many backends
 * share a row. */
#define MOVED_ROWS 1024u
static inline __u32 moved_row(const struct addr* address, __u16 port) {
  __u64 mix = address->halves[0] ^ address->halves[1];
  mix ^= mix >> 32 ^ port; /* what differs among pods stands in the high half */
  mix *= 0x9e3779b97f4a7c15ull;
  return (__u32)(mix >> 32) % MOVED_ROWS;
}

/* ---- flows: the path's memory of its decisions -------------------------------------------------------- */

/* Both directions of a flow share one key: a is the smaller end, by halves[0], halves[1], then port. */
struct flow_key {
  struct addr a;
  struct addr b;
  __u16 a_port; /* network order; ICMP echo: the identifier, on both sides */
  __u16 b_port;
  __u8 protocol;
  __u8 pad[3];
};

struct tuple {
  struct addr source;
  struct addr destination;
  __u16 source_port; /* network order */
  __u16 destination_port;
  __u32 pad;
};

/* Where a packet goes next, decided once. */
struct hop {
  struct addr peer; /* HOP_TUNNEL, HOP_DIRECT */
  __u32 kind;       /* enum hop_kind */
  __u32 ifindex;    /* HOP_ENDPOINT, HOP_HOST, and the uplink for the others */
  __u8 mac[6];      /* HOP_ENDPOINT: destination and source of the new Ethernet header */
  __u8 host_mac[6];
  __u16 mtu;   /* HOP_TUNNEL, HOP_DIRECT: as the route's */
  __u16 flags; /* ditto */
};
enum hop_kind { HOP_NONE = 0, HOP_ENDPOINT, HOP_HOST, HOP_TUNNEL, HOP_DIRECT, HOP_WORLD };

/* A flow without NAT has one entry for both directions. A flow with NAT has two: under the tuple its first
 * packet had, and under the tuple after rewriting; each is rewritten to `to`. */
struct flow {
  __u64 last_seen_ns;
  __u64 generation;   /* of the address tables when it was decided */
  __u64 epochs[2];    /* of rule_sets[], ditto */
  __u32 rule_sets[2]; /* of the source (egress) and the destination (ingress); 0: none */
  __u32 rule;         /* id of the rule that allowed it; 0: no policy applied */
  __u32 flags;        /* FLOW_* */
  struct tuple to;
  __u32 tcp;   /* what the TCP handshake has shown so far: FLOW_TCP_* */
  __u32 moved; /* UDP with NAT: what the row of its backend in the table moved said when it was decided */
  struct hop hops[2]; /* [0] for packets from side a, [1] from side b; HOP_NONE: not decided yet */
  __u32 arrived[2];   /* the way by which each side was last checked to own its source address */
  __u8 macs[2][6];    /* a pod's, ditto */
  __u32 pad;
};
#define FLOW_NAT   1u /* rewrite to `to` */
#define FLOW_REPLY 2u /* the NAT entry for the answering direction */
#define FLOW_OPENED_BY_B \
  4u /* side b sends the packets this entry was made for (without NAT: sent the first) */
#define FLOW_DSR \
  8u /* the backend's node answers by itself; without FLOW_NAT: that is another, and `to` says where */
#define FLOW_TCP_SYN      1u /* seen from the opener */
#define FLOW_TCP_ANSWERED 2u /* the other side has sent something */
#define FLOW_TCP_CLOSING  4u /* FIN or RST seen */

/* Flows stand in sets of rows (bpf/path/flows.h). A tag is 16 bits of the key's hash: all tags of a set are
 * one cache line, and say which of its rows are worth a look. Those of the flows no one has answered yet
 * stand last. */
#define FLOW_SETS 16384u
#define SET_WAYS  28u
#define SETTLED_WAYS \
  24u /* the others are for flows that are opening; their rows stand behind all settled ones */
#define TAG_NONE  0u
#define TAG_BUSY  1u /* its row is being written */
#define FIRST_TAG 2u
struct flow_set {
  union {
    __u16 tags[SET_WAYS];
    __u64 words[8]; /* and what stands behind them */
    struct {
      __u64 of_tags[SET_WAYS / 4];
      __u32 written; /* how many rows of this set ever were */
      __u32 held;    /* a bit for each row that is being changed in place, and must not give way */
    };
  };
};

struct flow_row {
  struct flow flow;
  struct flow_key key;
  __u32 stamp; /* another one whenever the row becomes another flow's; 0: no one's */
  __u32 pad[3];
};

/* Only this node knows which flows share a set. */
struct flow_secret {
  __u64 words[16];
};

/* A datagram's first fragment tells the ports to those that follow (RFC 791 §3.2, RFC 8200 §4.5). */
struct fragment_key {
  struct addr source;
  struct addr destination;
  __u32 id;  /* as the header has it */
  __u32 way; /* by which it came (2_flow.h): another way is another datagram */
  __u8 protocol;
  __u8 pad[7];
};

struct fragment {
  __u64 seen_ns;
  __u16 source_port; /* network order */
  __u16 destination_port;
  __u32 pad;
};

/* What this CPU has said back to senders of refused packets, less what time has given back. */
struct refusals {
  __u64 since_ns;
  __u64 answers;
};

/* ---- sockets: what an address means to one of them --------------------------------------------------------

UDP, while the row lives. A backend chosen: the service address asked for, told back by getpeername() and
recvmsg(). A service's address asked for by sendmsg() (unconnected): the backend it has, until that serves no
more. */

struct socket_key {
  __u64 cookie;
  struct addr address;
  __u16 port;
  __u8 pad[6];
};

struct socket_peer {
  struct addr address;
  __u16 port;
  __u8 pad[6];
};

/* TCP, for as long as the socket is there. */
struct told_peer {
  struct addr backend; /* chosen */
  struct addr asked;   /* the service's */
  __u16 backend_port;  /* network order */
  __u16 asked_port;
  __u8 pad[4];
};

/* ---- what comes out ----------------------------------------------------------------------------------- */

/* How the packet came to the path. */
enum origin {
  FROM_POD = 0,
  TO_POD,
  FROM_UPLINK,
  FROM_HOST,
  TO_UPLINK, /* the host's own, on its way out of the uplink */
};

enum verdict {
  CONTINUE = 0, /* next stage; never leaves the path */
  PASS,         /* to the host stack, as it is now */
  DROP,         /* for the reason given */
  REDIRECT,     /* to the hop given */
};

/* Every drop has a reason: the counter, the metric label and the text of `thalweg why`. */
#define THALWEG_DROP_REASONS(REASON)                                                                    \
  REASON(NONE, "not dropped")                                                                           \
  REASON(TRUNCATED, "the packet is shorter than its headers say")                                       \
  REASON(BAD_HEADER, "a header contradicts itself")                                                     \
  REASON(UNKNOWN_PROTOCOL, "neither IPv4 nor IPv6, or a transport the path does not carry")             \
  REASON(FRAGMENT, "a fragment whose first fragment was not seen")                                      \
  REASON(SPOOFED_SOURCE, "the pod does not own the source address it used")                             \
  REASON(UNKNOWN_TUNNEL_PEER, "the outer source is not the node that owns the inner source")            \
  REASON(LINK_LOCAL, "link-local and multicast traffic does not leave a pod")                           \
  REASON(UNRELATED_ICMP, "an ICMP error about a flow that was not seen")                                \
  REASON(TUNNEL_FROM_POD, "a pod may not speak to the tunnel port")                                     \
  REASON(DHCP_SERVER, "a pod may not be a DHCP server")                                                 \
  REASON(SOURCE_ROUTE, "the packet says by which way it wants to go")                                   \
  REASON(NO_SUCH_SERVICE, "the address is of the service range but no service has it")                  \
  REASON(NO_SERVICE_PORT, "the service has no such port")                                               \
  REASON(NO_BACKEND, "the service has no endpoint")                                                     \
  REASON(NO_LOCAL_BACKEND, "the service has no endpoint on this node, and its traffic policy is Local") \
  REASON(SOURCE_RANGE, "the client is in none of the service's loadBalancerSourceRanges")               \
  REASON(POLICY_EGRESS, "no egress rule of the source's policies allows it")                            \
  REASON(POLICY_INGRESS, "no ingress rule of the destination's policies allows it")                     \
  REASON(NO_SUCH_POD, "the address is in a podCIDR of this node but no pod has it")                     \
  REASON(NO_ROUTE, "nothing here leads to the destination")                                             \
  REASON(TTL_EXPIRED, "TTL or hop limit ran out")                                                       \
  REASON(NO_MASQUERADE_PORT, "every masquerade port to that destination is taken")                      \
  REASON(TOO_BIG, "larger than the path to its destination carries")                                    \
  REASON(NO_ROOM, "no room in the packet's buffer for the tunnel header")                               \
  REASON(NOT_CONFIGURED, "the agent has not programmed this node yet")

enum drop_reason {
#define REASON(name, text) DROP_##name,
  THALWEG_DROP_REASONS(REASON)
#undef REASON
      DROP_REASONS
};

/* Row i of counters: packets and bytes dropped for reason i; row DROP_NONE counts what was let through; of
 * these, row COUNTER_XDP what the uplink's XDP program sent on. The last two count flows that gave way to
 * others, in a full set: ones that were answered, ones that were opening. */
#define COUNTER_ROWS               64u
#define COUNTER_XDP                (COUNTER_ROWS - 1)
#define COUNTER_SETTLED_PUSHED_OUT (COUNTER_ROWS - 2)
#define COUNTER_OPENING_PUSHED_OUT (COUNTER_ROWS - 3)
struct counter {
  __u64 packets;
  __u64 bytes;
};

/* Every table, by the order of maps.def. */
enum table_id {
#define TABLE(name, kind, key, value, entries, writer) TABLE_##name,
#include "maps.def"
#undef TABLE
  TABLES
};

#endif
