/* What the path says back to the sender of a packet that it will not carry: a TCP reset (RFC 9293 §3.10.7.1),
 * or an ICMP error (RFC 792, RFC 4443). Not a stage: path.h asks for it once a packet has been dropped, and
 * the packet becomes the answer. Silence where an answer could do harm (RFC 1122 §3.2.2). */
#ifndef THALWEG_REFUSAL_H
#define THALWEG_REFUSAL_H

#include "bpf/path/7_forward.h"
#include "bpf/path/headers.h"
#include "bpf/path/pkt.h"

/* RFC 4443 §2.4 (f): "an IPv6 node MUST limit the rate of ICMPv6 error messages". For all answers, on each
 * CPU. */
#define REFUSALS_PER_S 10000ull
#define REFUSALS_BURST 1000ull

#define REFUSAL_TTL 64

/* ---- whether --------------------------------------------------------------------------------------------
 */

static __always_inline _Bool is_told(const struct pkt* p) {
  switch (p->reason) {
    case DROP_NO_SERVICE_PORT:
    case DROP_NO_BACKEND:
      return p->protocol == PROTO_UDP || (is_connection(p->protocol) && !(p->tcp_flags & TCP_RST));
    case DROP_TTL_EXPIRED:
    case DROP_TOO_BIG:
      return has_ports(p->protocol) || p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6;
    default: return 0;
  }
}

/* Only plain headers are answered: what has options is rare, and nobody waits for it. */
static __always_inline _Bool is_plain(const struct pkt* p) {
  return !p->quoted && !p->later && p->l3 == sizeof(struct eth_header) &&
         (__u32)(p->l4 - p->l3) == (p->v4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header));
}

/* The bucket fills with time; each answer takes one out. */
static __always_inline _Bool is_within_rate(struct pkt* p) {
  const __u32 zero = 0;
  struct refusals* spent = lookup(p, refusals, &zero);
  if (!spent) return 0;
  const __u64 passed_ns = p->now_ns - spent->since_ns;
  const __u64 regained = passed_ns / (SECONDS / REFUSALS_PER_S);
  if (regained) {
    spent->since_ns = p->now_ns;
    spent->answers = regained >= spent->answers ? 0 : spent->answers - regained;
  }
  if (spent->answers >= REFUSALS_BURST) return 0;
  ++spent->answers;
  return 1;
}

/* Where the sender is. One who does not own the address it used is told nothing: it would be someone else who
 * hears it. */
proved_alone enum verdict find_sender(struct pkt* p) {
  if (!p) return DROP;
  if (is_confined(&p->now.source) || is_confined(&p->now.destination)) return DROP;
  const __u8 reason = p->reason;
  const enum verdict belongs = check_source(p, lookup(p, endpoints, &p->now.source));
  p->reason = reason;
  if (belongs || !is_within_rate(p)) return DROP;
  const __u32 zero = 0;
  const struct node* node = lookup(p, node, &zero);
  if (!node) return DROP;
  p->to = reversed(&p->now);
  const enum verdict found =
      is_from_outside(p) ? to_world(p, node) : find_hop(p, lookup(p, endpoints, &p->to.destination));
  p->reason = reason;
  return found;
}

/* ---- what -----------------------------------------------------------------------------------------------
 */

static __always_inline void turn_ipv4(struct ipv4_header* ip, __u8 protocol, __u32 source, __u32 destination,
                                      __u32 length) {
  struct ipv4_header answer = {.version_and_length = 0x45,
                               .total_length = net16((__u16)length),
                               .fragment = net16(0x4000),
                               .ttl = REFUSAL_TTL,
                               .protocol = protocol,
                               .source = source,
                               .destination = destination};
  answer.checksum = ipv4_checksum(&answer);
  *ip = answer;
}

static __always_inline void turn_ipv6(struct ipv6_header* ip, __u8 protocol, const struct addr* source,
                                      const struct addr* destination, __u32 payload) {
  ip->version_class_flow = net32(6u << 28);
  ip->payload_length = net16((__u16)payload);
  ip->next = protocol;
  ip->hop_limit = REFUSAL_TTL;
  ip->source = *source;
  ip->destination = *destination;
}

static __always_inline enum verdict write_network(struct pkt* p, __u8 protocol, const struct addr* source,
                                                  __u32 payload) {
  if (p->v4) {
    struct ipv4_header* ip = header(p, p->l3, sizeof *ip);
    if (!ip) return DROP;
    turn_ipv4(ip, protocol, source->words[3], p->to.destination.words[3], (__u32)sizeof *ip + payload);
    return CONTINUE;
  }
  struct ipv6_header* ip = header(p, p->l3, sizeof *ip);
  if (!ip) return DROP;
  turn_ipv6(ip, protocol, source, &p->to.destination, payload);
  return CONTINUE;
}

/* RFC 8200 §8.1, RFC 9293 §3.1: the part of a checksum that is not in the packet. */
static __always_inline __u32 pseudo_header(const struct pkt* p, const struct addr* source, __u8 protocol,
                                           __u32 payload) {
  const struct addr none = {};
  __u32 sum = add_sum(net16((__u16)payload), net16(protocol));
  if (p->v4) return add_sum(sum, add_sum(source->words[3], p->to.destination.words[3]));
  /* From nothing to the address: what the address adds. */
  sum = add_sum(sum, addr_change(&none, source, 0));
  return add_sum(sum, addr_change(&none, &p->to.destination, 0));
}

/* A packet from a local socket may have its checksum still to be finished by a device: from the header's
 * beginning to the packet's end, into the checksum's field, whatever stands there added in. The path cannot
 * know. So the window of a reset, which means nothing, makes the checksum equal the pseudo-header's sum: then
 * finishing does not change it. */
own_frame enum verdict reset(struct pkt* p) {
  struct tcp_header* asked = header(p, p->l4, sizeof *asked);
  if (!asked) return DROP;
  const __u32 data = p->length - p->l4 - (asked->data_offset >> 4) * 4u;
  const _Bool acknowledges = asked->flags & TCP_ACK;
  struct tcp_header tcp = {
      .source = p->to.source_port, .destination = p->to.destination_port, .data_offset = 5 << 4};
  tcp.flags = acknowledges ? TCP_RST : TCP_RST | TCP_ACK;
  if (acknowledges)
    tcp.sequence = asked->acknowledged;
  else
    tcp.acknowledged =
        net32(net32(asked->sequence) + data + !!(asked->flags & TCP_SYN) + !!(asked->flags & TCP_FIN));
  const __u32 pseudo = pseudo_header(p, &p->to.source, PROTO_TCP, sizeof tcp);
  __u32 sum = add_sum(tcp.sequence, tcp.acknowledged);
  sum = add_sum(sum, add_sum(tcp.source, tcp.destination));
  sum = add_sum(sum, net16((__u16)(tcp.data_offset << 8 | tcp.flags)));
  tcp.checksum = fold(pseudo);
  tcp.window = (__u16)~fold(add_sum(sum, (__u32)fold(pseudo) * 2));
  if (resize(p, p->l4 + sizeof tcp)) return DROP;
  p->length = p->l4 + sizeof tcp;
  struct tcp_header* at = header(p, p->l4, sizeof tcp);
  if (!at) return DROP;
  *at = tcp;
  return write_network(p, PROTO_TCP, &p->to.source, sizeof tcp);
}

#define MOST_SUMMED_WORDS 34 /* an ICMP header, an IPv6 header, a TCP header */

own_frame __u32 sum_of(struct pkt* p, __u32 at, __u32 bytes) {
  __u32 sum = 0;
  for (__u32 i = 0; i < MOST_SUMMED_WORDS && i * 2 < bytes; ++i) {
    const struct word* word = header(p, at + i * 2, sizeof *word);
    if (word) sum += word->value;
  }
  return sum;
}

/* As with the reset, a device may still finish the checksum of the packet quoted. With half of what the rest
 * of it lacks, finishing changes nothing (in one's complement, to halve is to rotate). Nobody checks it. */
static __always_inline enum verdict steady_checksum(struct pkt* p, __u32 l4, __u32 quoted_l4) {
  if (p->protocol ==
      PROTO_SCTP) { /* no such trick with a CRC: what is still to be finished is not answered */
    const struct sctp_header* sctp = header(p, l4, SCTP_HEADER);
    return sctp && sctp->checksum ? CONTINUE : DROP;
  }
  if (p->protocol != PROTO_TCP && p->protocol != PROTO_UDP) return CONTINUE;
  struct word* field = header(p, l4 + checksum_offset(p), sizeof *field);
  if (!field) return DROP;
  field->value = 0;
  const __u16 lacking = (__u16)~fold(sum_of(p, l4, quoted_l4));
  const __u16 half = (__u16)(lacking >> 1 | lacking << 15);
  field = header(p, l4 + checksum_offset(p), sizeof *field);
  if (!field) return DROP;
  field->value = half ? half : 0xffff;
  return CONTINUE;
}

struct icmp_error {
  __u8 type;
  __u8 code;
  __u16 mtu;
};

static __always_inline struct icmp_error error_of(const struct pkt* p, __u16 largest) {
  struct icmp_error unreachable = {p->v4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE,
                                   p->v4 ? ICMP_PORT_UNREACHABLE : ICMPV6_PORT_UNREACHABLE, 0};
  struct icmp_error expired = {p->v4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED, 0, 0};
  struct icmp_error too_big = {p->v4 ? ICMP_UNREACHABLE : ICMPV6_TOO_BIG, p->v4 ? ICMP_TOO_BIG : 0, largest};
  return p->reason == DROP_TTL_EXPIRED ? expired : p->reason == DROP_TOO_BIG ? too_big : unreachable;
}

/* A router speaks with its own address; what the service's endpoint would have said, the service says. */
static __always_inline struct addr speaker(const struct pkt* p) {
  const struct addr* own = p->v4 ? &node_of(p)->v4 : &node_of(p)->v6;
  const _Bool as_router = p->reason == DROP_TTL_EXPIRED || p->reason == DROP_TOO_BIG;
  return as_router && !is_none(own) ? *own : p->to.source;
}

static __always_inline __u32 quoted_bytes(__u8 protocol) {
  return protocol == PROTO_TCP ? sizeof(struct tcp_header) : protocol == PROTO_SCTP ? SCTP_HEADER : 8;
}

/* Quotes the IP header and as much of the next one as tells the flow: a whole TCP header, because less could
 * not be cut from a packet whose checksum a device finishes. */
own_frame enum verdict icmp_refusal(struct pkt* p, __u16 largest) {
  const __u32 network = p->l4 - p->l3, transport = quoted_bytes(p->protocol);
  const __u32 more = network + sizeof(struct icmp_header), payload = more + transport;
  const struct addr source = speaker(p);
  if (resize(p, p->l4 + transport) || push(p, more)) return DROP;
  p->length = p->l4 + transport + more;
  const __u32 icmp_at = p->l4, quoted_l4 = p->l4 + more;
  if (steady_checksum(p, quoted_l4, transport)) return DROP;
  const struct icmp_error error = error_of(p, largest);
  struct icmp_header icmp = {.type = error.type, .code = error.code};
  /* RFC 1191 §4: the MTU in the last two bytes; RFC 4443 §3.2: in the last four. */
  icmp.sequence = net16(error.mtu);
  struct icmp_header* at = header(p, icmp_at, sizeof icmp);
  if (!at) return DROP;
  *at = icmp;
  __u32 sum = sum_of(p, icmp_at, payload);
  const __u8 protocol = p->v4 ? PROTO_ICMP : PROTO_ICMPV6;
  if (!p->v4) sum = add_sum(sum, pseudo_header(p, &source, protocol, payload));
  at = header(p, icmp_at, sizeof icmp);
  if (!at) return DROP;
  at->checksum = (__u16)~fold(sum);
  return write_network(p, protocol, &source, payload);
}

/* The dropped packet as the answer to it, on its way to the sender; DROP: there is none. */
static __always_inline enum verdict refuse(struct pkt* p) {
  if (!is_told(p) || !is_plain(p) || p->origin == TO_POD) return DROP;
  const __u16 largest = largest_to_hop(p); /* before the sender's hop takes its place */
  if (find_sender(p)) return DROP;
  const _Bool by_reset =
      p->protocol == PROTO_TCP && (p->reason == DROP_NO_SERVICE_PORT || p->reason == DROP_NO_BACKEND);
  const __u8 reason = p->reason;
  if (by_reset ? reset(p) : icmp_refusal(p, largest)) return DROP;
  const enum verdict verdict = forward(p);
  p->reason = reason;
  return verdict;
}

#endif
