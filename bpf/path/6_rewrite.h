/* Stage 6: what the packet will carry on. Chooses a source where one is needed (masquerade), writes the flow
 * down, then writes addresses, ports and TTL into the packet, with checksums adjusted (RFC 1624), both ways
 * of a NAT alike. */
#ifndef THALWEG_6_REWRITE_H
#define THALWEG_6_REWRITE_H

#include "bpf/path/2_flow.h"
#include "bpf/path/crc32c.h"
#include "bpf/path/headers.h"
#include "bpf/path/pkt.h"

#define MASQUERADE_TRIES 8

/* ---- choosing a source -------------------------------------------------------------------------------- */

/* The answer must come back here to be rewritten: so the node speaks for whoever the answer would not find
 * here. */
static __always_inline _Bool needs_masquerade(struct pkt* p) {
  if (p->origin == FROM_POD && p->hop.kind == HOP_WORLD) return node_of(p)->flags & NODE_MASQUERADE;
  if (p->nat && same_addr(&p->now.source, &p->to.destination)) return 1; /* who reached itself */
  return p->nat && p->origin == FROM_UPLINK && p->hop.kind != HOP_ENDPOINT && p->hop.kind != HOP_HOST;
}

/* Whether another flow has the tuple this one would be answered under. */
static __always_inline _Bool is_taken(struct pkt* p) {
  struct flow_row* draft = draft_of(p);
  if (!draft) return 1;
  put_key(&draft->key, &p->to, p->protocol);
  const struct flow_row* other = row_of(p, find_row(p, &draft->key));
  if (!other) return may_be_taken_over(p, &draft->key);
  p->shadowed = 1;
  if (is_expired(p, &other->flow)) return 0;
  return !(other->flow.flags & FLOW_REPLY) ||
         !is_reverse(&other->flow.to, &p->now); /* its own, from before */
}

/* A port no socket of the source has by itself, so that the answer is told from all others. */
proved_alone enum verdict choose_port(struct pkt* p) {
  const __u32 zero = 0;
  const struct node* node = p ? lookup(p, node, &zero) : 0;
  if (!node) return DROP;
  const _Bool echo = p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6;
  const __u32 first = node->masquerade_first, ports = node->masquerade_last - first + 1u;
  const __u32 start = random32(p);
  rolled for (int i = 0; i < MASQUERADE_TRIES; ++i) {
    p->to.source_port = net16((__u16)(first + (start + i) % ports));
    if (echo) p->to.destination_port = p->to.source_port;
    if (!is_taken(p)) return CONTINUE;
  }
  return drop(p, DROP_NO_MASQUERADE_PORT);
}

/* The host that asks itself through a service does so in the service's name: what it would answer to an
 * address of its own goes by the loopback, past the path, while service addresses lead back here. */
static __always_inline enum verdict masquerade(struct pkt* p) {
  const struct addr* source = is_v4(&p->to.destination) ? &node_of(p)->v4 : &node_of(p)->v6;
  if (is_none(source)) return CONTINUE; /* no address of that family: the packet goes as it is */
  p->nat = 1;
  p->to.source = p->origin == FROM_HOST ? p->now.destination : *source;
  return choose_port(p);
}

/* One pod may ask two services from the same port; when both choose the same backend, only the port tells
 * their answers apart. */
static __always_inline enum verdict choose_source(struct pkt* p) {
  enum verdict verdict = CONTINUE;
  if (p->found) return CONTINUE;
  if (needs_masquerade(p))
    verdict = masquerade(p);
  else if (p->nat && is_taken(p))
    verdict = choose_port(p);
  /* Where its own entry would stand is that of a flow the other way, which no one else's packet may end. */
  return !verdict && p->occupied && p->nat ? drop(p, DROP_NO_MASQUERADE_PORT) : verdict;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* One's complement sums: what checksums are made of. */
static __always_inline __u32 add_sum(__u32 one, __u32 other) {
  __u32 sum = one + other;
  return sum + (sum < one);
}

static __always_inline __u16 fold(__u32 sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)((sum & 0xffff) + (sum >> 16));
}

/* How the sum changes when an address goes from one to the other. */
static __always_inline __u32 addr_change(const struct addr* from, const struct addr* to, _Bool v4) {
  __u32 sum = add_sum(~from->words[3], to->words[3]);
  if (v4) return sum;
  sum = add_sum(sum, add_sum(~from->words[0], to->words[0]));
  sum = add_sum(sum, add_sum(~from->words[1], to->words[1]));
  return add_sum(sum, add_sum(~from->words[2], to->words[2]));
}

static __always_inline __u32 port_change(__u16 from, __u16 to) { return add_sum((__u16)~from, to); }

/* A checksum field after the sum it covers has changed (RFC 1624 eqn. 3). */
static __always_inline __u16 adjusted(__u16 checksum, __u32 change) {
  return (__u16)~fold(add_sum((__u16)~checksum, (__u32)fold(change)));
}

/* The header at `at`: its source and destination, and an IPv4 header's own checksum. */
static __always_inline enum verdict write_addresses(struct pkt* p, __u32 at, const struct addr* source,
                                                    const struct addr* destination) {
  if (p->v4) {
    struct ipv4_header* ip = header(p, at, sizeof *ip);
    if (!ip) return drop(p, DROP_TRUNCATED);
    __u32 change = add_sum(~ip->source, source->words[3]);
    change = add_sum(change, add_sum(~ip->destination, destination->words[3]));
    ip->checksum = adjusted(ip->checksum, change);
    ip->source = source->words[3];
    ip->destination = destination->words[3];
    return CONTINUE;
  }
  struct ipv6_header* ip = header(p, at, sizeof *ip);
  if (!ip) return drop(p, DROP_TRUNCATED);
  ip->source = *source;
  ip->destination = *destination;
  return CONTINUE;
}

static __always_inline __u32 checksum_offset(const struct pkt* p) {
  switch (p->protocol) {
    case PROTO_TCP: return 16;
    case PROTO_UDP: return 6;
    default: return 2;
  }
}

static __always_inline enum verdict write_ports(struct pkt* p, __u32 at, __u16 source, __u16 destination) {
  if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6) {
    struct icmp_header* icmp = header(p, at, sizeof *icmp);
    if (!icmp) return drop(p, DROP_TRUNCATED);
    icmp->id = source;
    return CONTINUE;
  }
  struct udp_header* ports = header(p, at, sizeof *ports);
  if (!ports) return drop(p, DROP_TRUNCATED);
  ports->source = source;
  ports->destination = destination;
  return CONTINUE;
}

/* SCTP sums no addresses. A checksum of zero is still to be made by a device, from what will stand there
 * then. */
static __always_inline enum verdict write_sctp(struct pkt* p) {
  struct sctp_header* sctp = header(p, p->l4, SCTP_HEADER);
  if (!sctp) return drop(p, DROP_TRUNCATED);
  const __u32 change =
      (__u32)(sctp->source ^ p->to.source_port) | (__u32)(sctp->destination ^ p->to.destination_port) << 16;
  sctp->source = p->to.source_port;
  sctp->destination = p->to.destination_port;
  if (change && sctp->checksum) sctp->checksum ^= crc32c_change(change, p->end - p->l4);
  return write_addresses(p, p->l3, &p->to.source, &p->to.destination);
}

static __always_inline _Bool changes_ports(const struct pkt* p) {
  return p->now.source_port != p->to.source_port || p->now.destination_port != p->to.destination_port;
}

static __always_inline enum verdict translate(struct pkt* p) {
  /* SCTP's sum covers all of a datagram: a part of one cannot be put right. */
  if (p->protocol == PROTO_SCTP && p->fragment && changes_ports(p)) return drop(p, DROP_FRAGMENT);
  if (p->protocol == PROTO_SCTP && !p->later) return write_sctp(p);
  if (p->later) return write_addresses(p, p->l3, &p->to.source, &p->to.destination); /* that is all it has */
  const _Bool icmp = p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6;
  __u32 addresses = add_sum(addr_change(&p->now.source, &p->to.source, p->v4),
                            addr_change(&p->now.destination, &p->to.destination, p->v4));
  __u32 ports = port_change(p->now.source_port, p->to.source_port);
  if (!icmp) ports = add_sum(ports, port_change(p->now.destination_port, p->to.destination_port));
  const __u32 at = p->l4 + checksum_offset(p);
  enum verdict verdict = write_addresses(p, p->l3, &p->to.source, &p->to.destination);
  if (!verdict) verdict = write_ports(p, p->l4, p->to.source_port, p->to.destination_port);
  if (verdict) return verdict;
  /* ICMP for IPv4 has no pseudo-header: the addresses are not in its sum. */
  if (p->protocol != PROTO_ICMP && fix_checksum(p, at, addresses, PSEUDO_HEADER))
    return drop(p, DROP_TRUNCATED);
  if (ports && fix_checksum(p, at, ports, PAYLOAD)) return drop(p, DROP_TRUNCATED);
  return CONTINUE;
}

static __always_inline enum verdict read_source(struct pkt* p, struct addr* source) {
  if (p->v4) {
    struct ipv4_header* ip = header(p, p->l3, sizeof *ip);
    if (!ip) return drop(p, DROP_TRUNCATED);
    *source = from_v4(ip->source);
    return CONTINUE;
  }
  struct ipv6_header* ip = header(p, p->l3, sizeof *ip);
  if (!ip) return drop(p, DROP_TRUNCATED);
  *source = ip->source;
  return CONTINUE;
}

/* An ICMP error about a translated packet (RFC 5508 §4.2): its own addresses, and the quoted packet as its
 * sender knows it. The quoted IPv4 header's checksum covers its own change; the quoted ports change the ICMP
 * checksum, and so do all addresses under IPv6, which has no such header and sums a pseudo-header. Who speaks
 * keeps its address, unless it is the flow's other end itself. */
own_frame enum verdict translate_error(struct pkt* p) {
  /* The quoted packet was sent as `to` reversed, and carried as `now` reversed. */
  const struct tuple *sent = &p->to, *carried = &p->now;
  struct addr source;
  enum verdict verdict = read_source(p, &source);
  if (verdict) return verdict;
  const _Bool end = same_addr(&source, &carried->source);
  if (end) source = sent->source;
  __u32 change = port_change(carried->destination_port, sent->destination_port);
  if (p->protocol != PROTO_ICMP && p->protocol != PROTO_ICMPV6)
    change = add_sum(change, port_change(carried->source_port, sent->source_port));
  if (!p->v4) {
    const __u32 sources = addr_change(&carried->source, &sent->source, 0);
    const __u32 addresses = add_sum(sources, addr_change(&carried->destination, &sent->destination, 0));
    const __u32 pseudo = end ? addresses : addr_change(&carried->destination, &sent->destination, 0);
    change = add_sum(change, addresses);
    if (fix_checksum(p, p->l4 + 2, pseudo, PSEUDO_HEADER)) return drop(p, DROP_TRUNCATED);
  }
  verdict = write_addresses(p, p->l3, &source, &sent->destination);
  if (!verdict) verdict = write_addresses(p, p->quoted, &sent->destination, &sent->source);
  if (!verdict) verdict = write_ports(p, p->quoted_l4, sent->destination_port, sent->source_port);
  if (!verdict && change && fix_checksum(p, p->l4 + 2, change, PAYLOAD)) verdict = drop(p, DROP_TRUNCATED);
  return verdict;
}

static __always_inline _Bool is_routed(const struct pkt* p) {
  return p->origin != TO_POD && p->origin != FROM_HOST && p->hop.kind != HOP_HOST;
}

static __always_inline enum verdict spend_ttl(struct pkt* p) {
  if (p->v4) {
    struct ipv4_header* ip = header(p, p->l3, sizeof *ip);
    if (!ip) return drop(p, DROP_TRUNCATED);
    if (ip->ttl <= 1) return drop(p, DROP_TTL_EXPIRED);
    --ip->ttl;
    ip->checksum =
        adjusted(ip->checksum, add_sum((__u16)~net16(0x0100), 0)); /* TTL is the high byte of its word */
    return CONTINUE;
  }
  struct ipv6_header* ip = header(p, p->l3, sizeof *ip);
  if (!ip) return drop(p, DROP_TRUNCATED);
  if (ip->hop_limit <= 1) return drop(p, DROP_TTL_EXPIRED);
  --ip->hop_limit;
  return CONTINUE;
}

/* Of the IP packets it will be on the wire, the length of the largest. */
static __always_inline __u32 wire_length(struct pkt* p) {
  const __u32 payload = segment_payload(p);
  if (!payload) return p->length - p->l3;
  const struct tcp_header* tcp = p->protocol == PROTO_TCP ? header(p, p->l4, sizeof *tcp) : 0;
  const __u32 transport = tcp ? (tcp->data_offset >> 4) * 4 : sizeof(struct udp_header);
  return p->l4 - p->l3 + transport + payload;
}

/* The largest packet the hop takes; 0: what came here fits. */
static __always_inline __u16 largest_to_hop(const struct pkt* p) {
  if (p->hop.kind == HOP_TUNNEL) return p->hop.mtu ? p->hop.mtu : node_of(p)->mtu;
  return p->hop.kind == HOP_DIRECT ? p->hop.mtu : 0;
}

/* Asked before the packet is touched: its sender is told, and wants to hear of what it sent. */
static __always_inline _Bool is_too_big(struct pkt* p) {
  const __u16 largest = largest_to_hop(p);
  return largest && wire_length(p) > largest;
}

static __always_inline _Bool is_connecting(const struct pkt* p) {
  return p->protocol == PROTO_TCP && p->tcp_flags & TCP_SYN && !p->quoted && !p->fragment;
}

#define MOST_TCP_OPTIONS 10 /* none shorter than four bytes but those of one */

/* Where the maximum segment size stands; 0: nowhere. */
static __always_inline __u32 find_mss(struct pkt* p) {
  const struct tcp_header* tcp = header(p, p->l4, sizeof *tcp);
  if (!tcp) return 0;
  __u32 at = p->l4 + (__u32)sizeof *tcp;
  const __u32 end = p->l4 + (tcp->data_offset >> 4) * 4;
  for (int i = 0; i < MOST_TCP_OPTIONS && at + sizeof(struct tcp_option) <= end; ++i) {
    const struct tcp_option* option = header(p, at, sizeof *option);
    if (!option || option->kind == TCP_OPTIONS_END) return 0;
    if (option->kind == TCP_OPTION_MSS) return option->length == sizeof *option ? at : 0;
    if (option->kind != TCP_OPTION_NONE && option->length < 2) return 0;
    at += option->kind == TCP_OPTION_NONE ? 1 : option->length;
  }
  return 0;
}

/* Who connects says how large a segment it takes (RFC 9293 §3.7.1): no larger than what comes by the way to
 * it, so that the other side need not learn it from ICMP, which many a firewall drops. */
own_frame enum verdict clamp_mss(struct pkt* p, __u16 largest) {
  const __u32 headers = sizeof(struct tcp_header) +
                        (p->v4 ? (__u32)sizeof(struct ipv4_header) : (__u32)sizeof(struct ipv6_header));
  const __u32 at = find_mss(p);
  struct tcp_option* option = at ? header(p, at, sizeof *option) : 0;
  if (!option || net16(option->value) + headers <= largest) return CONTINUE;
  const __u16 most = net16((__u16)(largest - headers));
  __u16 change = fold(port_change(option->value, most));
  if ((at - p->l4) & 1) change = (__u16)(change << 8 | change >> 8); /* across two words of the sum */
  option->value = most;
  return fix_checksum(p, p->l4 + checksum_offset(p), change, PAYLOAD) ? drop(p, DROP_TRUNCATED) : CONTINUE;
}

static __always_inline enum verdict rewrite(struct pkt* p) {
  if (is_too_big(p)) return drop(p, DROP_TOO_BIG);
  enum verdict verdict = choose_source(p);
  const __u16 largest = largest_to_hop(p);
  if (!verdict && largest && is_connecting(p)) verdict = clamp_mss(p, largest);
  if (!verdict && is_routed(p)) verdict = spend_ttl(p);
  if (verdict) return verdict;
  if (!p->found)
    remember_new(p);
  else if (!p->known && remember_again(p))
    touch_other_half(p);
  if (p->opening && p->reply && !p->quoted) settle(p);
  if (!p->nat) return CONTINUE;
  return p->quoted ? translate_error(p) : translate(p);
}

#endif
