/* Stage 1: bytes → flow key. Takes a tunnel header off first, when the packet came in one meant for this
 * node.
 *
 * What is not for the path passes untouched where the host lives (uplink, both ways, and to_pod) and goes no
 * further elsewhere. */
#ifndef THALWEG_1_PARSE_H
#define THALWEG_1_PARSE_H

#include "bpf/path/headers.h"
#include "bpf/path/pkt.h"

#define MOST_EXTENSION_HEADERS 4
#define MOST_IPV4_OPTION_BYTES 40

/* What the host's stack sends to a pod by itself: ARP, neighbour discovery, what bears this node's address.
 * The rest it only forwards, and someone on the underlay sent it. */
static __always_inline _Bool is_by_host(const struct pkt* p) {
  const struct addr* source = &p->now.source;
  return same_addr(source, &node_of(p)->v4) || same_addr(source, &node_of(p)->v6) ||
         (!is_v4(source) && is_confined(source)); /* also none at all: no IP packet */
}

/* The path has no say about it: the host's stack has, if the packet came from there or is on its way there.
 */
own_frame enum verdict not_ours(struct pkt* p, enum drop_reason reason) {
  if ((p->origin == FROM_UPLINK && !p->tunneled) || p->origin == TO_UPLINK) return PASS;
  if (p->origin == TO_POD && is_by_host(p)) return PASS;
  return drop(p, reason);
}

/* Bytes of the IP packet: what pads the frame behind it is no header. */
static __always_inline void* inside(struct pkt* p, __u32 offset, __u32 length) {
  return offset + length > p->end ? 0 : header(p, offset, length);
}

static __always_inline enum verdict parse_udp(struct pkt* p) {
  struct udp_header* ports = inside(p, p->l4, sizeof *ports);
  if (!ports) return not_ours(p, DROP_TRUNCATED);
  set_ports(&p->now, ports->source, ports->destination);
  return CONTINUE;
}

static __always_inline enum verdict parse_tcp(struct pkt* p) {
  struct tcp_header* tcp = inside(p, p->l4, sizeof *tcp);
  if (!tcp) return not_ours(p, DROP_TRUNCATED);
  if ((tcp->data_offset >> 4) < 5) return not_ours(p, DROP_BAD_HEADER);
  p->tcp_flags = tcp->flags;
  set_ports(&p->now, tcp->source, tcp->destination);
  return CONTINUE;
}

/* What an SCTP association says of its beginning and end (RFC 9260 §5.1, §9), in TCP's words. */
static __always_inline __u8 in_words_of_tcp(__u8 chunk) {
  switch (chunk) {
    case SCTP_INIT: return TCP_SYN;
    case SCTP_INIT_ACK: return TCP_SYN | TCP_ACK;
    case SCTP_ABORT:
    case SCTP_SHUTDOWN_COMPLETE: return TCP_RST;
    default: return TCP_ACK;
  }
}

static __always_inline enum verdict parse_sctp(struct pkt* p) {
  struct sctp_header* sctp = inside(p, p->l4, sizeof *sctp);
  if (!sctp) return not_ours(p, DROP_TRUNCATED);
  p->tcp_flags = in_words_of_tcp(sctp->chunk);
  set_ports(&p->now, sctp->source, sctp->destination);
  return CONTINUE;
}

/* An ICMP error belongs to the flow of the packet it quotes, and goes the way an answer to that packet would.
 * Routers speak of flows that are not theirs; a pod speaks for itself alone. */
own_frame enum verdict parse_quoted(struct pkt* p) {
  struct tuple sent = {};
  __u32 at = p->l4 + sizeof(struct icmp_header), l4;
  if (p->v4) {
    struct ipv4_header* ip = header(p, at, sizeof *ip);
    if (!ip) return not_ours(p, DROP_TRUNCATED);
    sent.source = from_v4(ip->source);
    sent.destination = from_v4(ip->destination);
    if ((ip->version_and_length & 15) < 5) return not_ours(p, DROP_BAD_HEADER);
    if (ip->fragment & net16(0x1fff)) return not_ours(p, DROP_UNRELATED_ICMP); /* it has no ports */
    p->protocol = ip->protocol;
    l4 = at + (ip->version_and_length & 15) * 4;
  } else {
    struct ipv6_header* ip = header(p, at, sizeof *ip);
    if (!ip) return not_ours(p, DROP_TRUNCATED);
    sent.source = ip->source;
    sent.destination = ip->destination;
    p->protocol = ip->next;
    l4 = at + sizeof *ip;
  }
  if (!has_ports(p->protocol)) {
    /* A quoted echo has its identifier where ports do not stand. */
    struct icmp_header* icmp = inside(p, l4, sizeof *icmp);
    if (!icmp) return not_ours(p, DROP_TRUNCATED);
    sent.source_port = sent.destination_port = icmp->id;
  } else {
    struct udp_header* ports = inside(p, l4, sizeof *ports);
    if (!ports) return not_ours(p, DROP_TRUNCATED);
    sent.source_port = ports->source;
    sent.destination_port = ports->destination;
  }
  if (p->origin == FROM_POD && !same_addr(&p->now.source, &sent.destination))
    return drop(p, DROP_SPOOFED_SOURCE);
  /* It goes to whom it is about, or it would go the flow's way to anyone. */
  if (!same_addr(&p->now.destination, &sent.source)) return not_ours(p, DROP_UNRELATED_ICMP);
  p->quoted = at;
  p->quoted_l4 = l4;
  p->now = reversed(&sent);
  return CONTINUE;
}

static __always_inline enum verdict parse_icmp(struct pkt* p) {
  struct icmp_header* icmp = inside(p, p->l4, sizeof *icmp);
  if (!icmp) return not_ours(p, DROP_TRUNCATED);
  __u8 type = icmp->type;
  if (p->v4 ? type == ICMP_ECHO || type == ICMP_ECHO_REPLY
            : type == ICMPV6_ECHO || type == ICMPV6_ECHO_REPLY) {
    p->now.source_port = p->now.destination_port = icmp->id;
    return CONTINUE;
  }
  if (p->v4 ? type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER
            : type >= ICMPV6_FIRST_ERROR && type <= ICMPV6_LAST_ERROR)
    return parse_quoted(p);
  return not_ours(p, DROP_LINK_LOCAL); /* neighbour discovery, redirects, router advertisements */
}

static __always_inline enum verdict parse_transport(struct pkt* p) {
  switch (p->protocol) {
    case PROTO_TCP: return parse_tcp(p);
    case PROTO_UDP: return parse_udp(p);
    case PROTO_SCTP: return parse_sctp(p);
    case PROTO_ICMP: return p->v4 ? parse_icmp(p) : not_ours(p, DROP_UNKNOWN_PROTOCOL);
    case PROTO_ICMPV6: return p->v4 ? not_ours(p, DROP_UNKNOWN_PROTOCOL) : parse_icmp(p);
    default: return not_ours(p, DROP_UNKNOWN_PROTOCOL);
  }
}

/* RFC 791 §3.1: loose and strict source route. Whoever asks for one would be let through by the address it
 * gives first, and arrive at the last. */
own_frame _Bool has_source_route(struct pkt* p, __u32 from, __u32 length) {
  __u32 at = 0;
  for (int i = 0; i < MOST_IPV4_OPTION_BYTES && at < length; ++i) {
    at &= 63; /* changes nothing: the verifier takes every way through the loop for the same one */
    const __u8* kind = header(p, from + at, 1);
    if (!kind || *kind == IPV4_END_OF_OPTIONS) return 0;
    if (*kind == IPV4_LOOSE_SOURCE_ROUTE || *kind == IPV4_STRICT_SOURCE_ROUTE) return 1;
    const __u8* size = *kind == IPV4_NO_OPTION ? 0 : header(p, from + at + 1, 1);
    at += size && *size > 1 ? *size : 1; /* a size that cannot be: look at every byte */
  }
  return 0;
}

/* A part of a datagram (RFC 791 §3.1). False: a TCP header come apart (RFC 1858 §4.2), to be dropped. */
static __always_inline _Bool note_fragment(struct pkt* p, const struct ipv4_header* ip) {
  const __u16 offset = ip->fragment & net16(0x1fff);
  p->fragment = 1;
  p->later = !!offset;
  p->fragment_id = ip->id;
  return ip->protocol != PROTO_TCP || offset != net16(1);
}

static __always_inline enum verdict parse_ipv4(struct pkt* p) {
  struct ipv4_header* ip = header(p, p->l3, sizeof *ip);
  if (!ip) return not_ours(p, DROP_TRUNCATED);
  __u32 length = (ip->version_and_length & 15) * 4;
  if (ip->version_and_length >> 4 != 4 || length < sizeof *ip) return not_ours(p, DROP_BAD_HEADER);
  if (net16(ip->total_length) < length) return not_ours(p, DROP_BAD_HEADER);
  if (p->l3 + net16(ip->total_length) > p->length) return not_ours(p, DROP_TRUNCATED);
  p->end = p->l3 + net16(ip->total_length);
  p->v4 = 1;
  p->protocol = ip->protocol;
  p->now.source = from_v4(ip->source);
  p->now.destination = from_v4(ip->destination);
  p->l4 = p->l3 + length;
  if (ip->fragment & net16(0x3fff) && !note_fragment(p, ip)) return not_ours(p, DROP_FRAGMENT);
  if (length > sizeof *ip && has_source_route(p, p->l3 + sizeof *ip, length - sizeof *ip))
    return not_ours(p, DROP_SOURCE_ROUTE);
  return CONTINUE;
}

static __always_inline _Bool is_extension(__u8 next) {
  return next == PROTO_HOP_BY_HOP || next == PROTO_ROUTING || next == PROTO_DESTINATION ||
         next == PROTO_FRAGMENT;
}

/* RFC 8200 §4.4: not 0 means that its destination is only the next of several. */
static __always_inline __u8 segments_left(const struct ipv6_extension* routing) {
  return (__u8)(net16(routing->fragment) & 0xff);
}

static __always_inline enum verdict parse_ipv6(struct pkt* p) {
  struct ipv6_header* ip = header(p, p->l3, sizeof *ip);
  if (!ip) return not_ours(p, DROP_TRUNCATED);
  if (*(__u8*)ip >> 4 != 6) return not_ours(p, DROP_BAD_HEADER);
  if (p->l3 + sizeof *ip + net16(ip->payload_length) > p->length) return not_ours(p, DROP_TRUNCATED);
  p->end = p->l3 + sizeof *ip + net16(ip->payload_length);
  __u8 next = ip->next;
  __u32 at = p->l3 + sizeof *ip;
  p->v4 = 0;
  p->now.source = ip->source;
  p->now.destination = ip->destination;
  /* RFC 4038 §4.2: not for the wire, where they would be taken for the IPv4 addresses they name. */
  if (is_v4(&p->now.source) || is_v4(&p->now.destination)) return not_ours(p, DROP_BAD_HEADER);
  unrolled for (int i = 0; i < MOST_EXTENSION_HEADERS; ++i) {
    if (!is_extension(next)) break;
    struct ipv6_extension* extension = header(p, at, sizeof *extension);
    if (!extension) return not_ours(p, DROP_TRUNCATED);
    const _Bool is_fragment = next == PROTO_FRAGMENT;
    if (next == PROTO_ROUTING && segments_left(extension)) return not_ours(p, DROP_SOURCE_ROUTE);
    next = extension->next;
    if (!is_fragment) {
      at += (extension->length + 1) * 8;
      continue;
    }
    at += 8;
    p->later = !!(extension->fragment & net16(0xfff8)); /* its offset */
    p->fragment = p->later || extension->fragment & net16(1);
    p->fragment_id = extension->rest;
    if (p->later) break; /* what follows is no header */
  }
  if (is_extension(next)) return not_ours(p, DROP_BAD_HEADER);
  p->protocol = next;
  p->l4 = at;
  return CONTINUE;
}

static __always_inline enum verdict parse_network(struct pkt* p) {
  struct eth_header* eth = header(p, 0, sizeof *eth);
  if (!eth) return not_ours(p, DROP_TRUNCATED);
  __u16 type = eth->type;
  p->l3 = sizeof *eth;
  copy(p->source_mac, eth->source, 6);
  if (is_tagged(p) || (type == net16(ETH_VLAN) && p->origin == FROM_POD))
    return not_ours(p, DROP_UNKNOWN_PROTOCOL); /* a pod is in no VLAN; the host's are the host's */
  if (type == net16(ETH_VLAN)) {
    struct vlan_tag* tag = header(p, sizeof *eth, sizeof *tag);
    if (!tag) return not_ours(p, DROP_TRUNCATED);
    type = tag->type;
    p->l3 += sizeof *tag;
  }
  if (type == net16(ETH_IPV4)) return parse_ipv4(p);
  if (type == net16(ETH_IPV6)) return parse_ipv6(p);
  return not_ours(p, DROP_UNKNOWN_PROTOCOL);
}

/* ---- fragments: the first has the ports, the others are told them ---------------------------------------
 */

#define FRAGMENT_TIMEOUT_NS (30 * 1000000000ull) /* as long as Linux waits for the rest */

static __always_inline struct fragment_key datagram_of(const struct pkt* p) {
  struct fragment_key key = {.source = p->now.source,
                             .destination = p->now.destination,
                             .id = p->fragment_id,
                             .way = way_of(p),
                             .protocol = p->protocol};
  return key;
}

proved_alone int remember_ports(struct pkt* p) {
  if (!p) return 0;
  const struct fragment_key key = datagram_of(p);
  const struct fragment first = {
      .seen_ns = now(p), .source_port = p->now.source_port, .destination_port = p->now.destination_port};
  return insert(p, fragments, &key, &first);
}

proved_alone int recall_ports(struct pkt* p) {
  if (!p) return 1;
  const struct fragment_key key = datagram_of(p);
  const struct fragment* first = lookup(p, fragments, &key);
  if (!first || now(p) - first->seen_ns > FRAGMENT_TIMEOUT_NS) return 1;
  p->now.source_port = first->source_port;
  p->now.destination_port = first->destination_port;
  return 0;
}

static __always_inline enum verdict parse_packet(struct pkt* p) {
  enum verdict verdict = parse_network(p);
  if (verdict) return verdict;
  if (p->later) return recall_ports(p) ? not_ours(p, DROP_FRAGMENT) : CONTINUE;
  verdict = parse_transport(p);
  if (!verdict && p->fragment) remember_ports(p);
  return verdict;
}

static __always_inline _Bool is_tunnel_packet(const struct pkt* p) {
  return p->origin == FROM_UPLINK && p->protocol == PROTO_UDP && !p->quoted && !p->fragment &&
         p->now.destination_port == node_of(p)->tunnel_port &&
         same_addr(&p->now.destination, p->v4 ? &node_of(p)->v4 : &node_of(p)->v6);
}

static __always_inline _Bool is_node(struct pkt* p, const struct addr* address); /* 4_identity.h */

own_frame _Bool is_from_node(struct pkt* p) { return is_node(p, &p->now.source); }

/* Takes the outer headers off; who may send what is stage 4's question, once the inner addresses are known.
 */
static __always_inline enum verdict decapsulate(struct pkt* p) {
  struct vxlan_header* vxlan =
      header(p, p->l4 + sizeof(struct udp_header), sizeof *vxlan + sizeof(struct eth_header));
  if (!vxlan) return drop(p, DROP_TRUNCATED);
  struct eth_header* inner = (struct eth_header*)(vxlan + 1);
  __u16 type = inner->type;
  /* Ours have no IP options: a longer header would leave something behind. */
  const __u32 network = p->v4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header);
  if ((__u32)(p->l4 - p->l3) != network || p->l3 != sizeof(struct eth_header))
    return drop(p, DROP_BAD_HEADER);
  if (!(vxlan->flags & 0x08) || net32(vxlan->vni) >> 8 != node_of(p)->vni) return drop(p, DROP_BAD_HEADER);
  if (type != net16(ETH_IPV4) && type != net16(ETH_IPV6)) return drop(p, DROP_UNKNOWN_PROTOCOL);
  if (!p->v4 && !is_from_node(p)) return drop(p, DROP_UNKNOWN_TUNNEL_PEER);
  p->outer = p->now.source;
  p->tunneled = 1;
  const __u32 tunnel = network + sizeof(struct vxlan_frame);
  if (pop_tunnel(p, tunnel, type == net16(ETH_IPV4))) return drop(p, DROP_TRUNCATED);
  struct eth_header* eth = header(p, 0, sizeof *eth);
  if (!eth) return drop(p, DROP_TRUNCATED);
  eth->type = type;
  p->length -= tunnel;
  return parse_packet(p);
}

static __always_inline enum verdict parse(struct pkt* p) {
  enum verdict verdict = parse_packet(p);
  if (verdict) return verdict;
  if (is_tunnel_packet(p)) verdict = decapsulate(p);
  if (verdict) return verdict;
  if (p->origin == FROM_POD && is_confined(&p->now.destination)) return drop(p, DROP_LINK_LOCAL);
  p->to = p->now;
  return CONTINUE;
}

#endif
