/* Stage 2: has this been decided before? A valid flow entry answers everything; the packet goes straight to
 * stage 6.
 *
 * A flow that no one has answered yet stands in the table opening, where floods push each other out; its
 * first answer moves it to the table flows, which a flood therefore never reaches.
 *
 * An entry whose rules or addresses have changed since keeps its rewriting (a connection must not change its
 * backend), but stages 4 and 5 decide anew whether it may go on. */
#ifndef THALWEG_2_FLOW_H
#define THALWEG_2_FLOW_H

#include "bpf/path/headers.h"
#include "bpf/path/pkt.h"

#define SECONDS 1000000000ull

/* How long an entry stands without a packet. TCP established: RFC 5382 §5 asks for at least 2 h 4 min; UDP:
 * RFC 4787 §4.3 for at least 2 minutes; ICMP: RFC 5508 §3.2 for at least 60 seconds. */
#define TIMEOUT_TCP_OPENING     (60 * SECONDS)
#define TIMEOUT_TCP_ESTABLISHED (7440 * SECONDS)
#define TIMEOUT_TCP_CLOSING     (30 * SECONDS)
#define TIMEOUT_SCTP            (210 * SECONDS) /* RFC 9260 §8.3, §16: five heartbeats unanswered, and RTO.Max */
#define TIMEOUT_UDP             (120 * SECONDS)
#define TIMEOUT_ICMP            (60 * SECONDS)
/* last_seen_ns is written no more often than this: a busy flow's entry would otherwise bounce between CPUs.
 */
#define TOUCH_EVERY (1 * SECONDS)

static __always_inline _Bool source_is_b(const struct tuple* t) {
  if (t->source.halves[0] != t->destination.halves[0]) return t->source.halves[0] > t->destination.halves[0];
  if (t->source.halves[1] != t->destination.halves[1]) return t->source.halves[1] > t->destination.halves[1];
  return t->source_port > t->destination_port;
}

static __always_inline struct flow_key key_of(const struct tuple* t, __u8 protocol) {
  struct flow_key key = {.protocol = protocol};
  if (source_is_b(t)) {
    key.a = t->destination, key.a_port = t->destination_port;
    key.b = t->source, key.b_port = t->source_port;
  } else {
    key.a = t->source, key.a_port = t->source_port;
    key.b = t->destination, key.b_port = t->destination_port;
  }
  return key;
}

static __always_inline __u64 timeout_ns(const struct flow* flow, __u8 protocol) {
  if (protocol == PROTO_UDP) return TIMEOUT_UDP;
  if (!is_connection(protocol)) return TIMEOUT_ICMP;
  if (flow->tcp & FLOW_TCP_CLOSING) return TIMEOUT_TCP_CLOSING;
  if (!(flow->tcp & FLOW_TCP_ANSWERED)) return TIMEOUT_TCP_OPENING;
  return protocol == PROTO_TCP ? TIMEOUT_TCP_ESTABLISHED : TIMEOUT_SCTP;
}

static __always_inline __u64 epoch_of(struct pkt* p, __u32 rule_set) {
  const struct rule_set* set = lookup(p, rule_sets, &rule_set);
  return set ? set->epoch : 0;
}

/* Rule set 0 is "none": it has no content that could change. An epoch of 0 is a set in transition, believed
 * by no one. */
static __always_inline _Bool stands(struct pkt* p, __u32 rule_set, __u64 epoch) {
  return !rule_set || (epoch && epoch_of(p, rule_set) == epoch);
}

/* What the row of a backend says: it changes when one of the row's backends stops serving. */
static __always_inline __u32 moved_of(struct pkt* p, const struct addr* address, __u16 port) {
  const __u32 row = moved_row(address, port);
  const __u32* moved = lookup(p, moved, &row);
  return moved ? *moved : 0;
}

static __always_inline _Bool is_udp_to_backend(const struct pkt* p, const struct flow* flow) {
  return p->protocol == PROTO_UDP && flow->flags & (FLOW_NAT | FLOW_DSR) && !(flow->flags & FLOW_REPLY);
}

static __always_inline _Bool is_valid(struct pkt* p, const struct flow* flow) {
  return flow->generation == p->generation && flow->moved == p->moved &&
         stands(p, flow->rule_sets[0], flow->epochs[0]) && stands(p, flow->rule_sets[1], flow->epochs[1]);
}

static __always_inline _Bool came_as_before(const struct pkt* p, const struct flow* flow, _Bool side) {
  return flow->arrived[side] == way_of(p) &&
         (p->origin != FROM_POD || same_mac(flow->macs[side], p->source_mac));
}

static __always_inline void remember_way(const struct pkt* p, struct flow* flow, _Bool side) {
  flow->arrived[side] = way_of(p);
  copy(flow->macs[side], p->source_mac, 6);
}

/* A NAT flow's two entries live and age as one. Where a port was used again, what stands there may be half of
 * another flow: late answers to the old one are not its. */
proved_alone int touch_other_half(struct pkt* p) {
  if (!p) return 0;
  struct tuple turned = reversed(&p->to);
  const struct flow_key key = key_of(&turned, p->protocol);
  struct flow* other = lookup(p, flows, &key);
  if (!other) other = lookup(p, opening, &key);
  turned = reversed(&p->now);
  if (!other || !(other->flags & FLOW_NAT) || !same_tuple(&other->to, &turned)) return 0;
  other->tcp |= p->seen;
  other->last_seen_ns = p->now_ns;
  return 0;
}

/* The answers go another way; who has one goes on without a SYN. */
static __always_inline _Bool is_answered_elsewhere(const struct pkt* p) {
  return p->dsr && !p->nat && !(p->tcp_flags & TCP_SYN);
}

static __always_inline void touch(struct pkt* p, struct flow* flow) {
  if (p->quoted) return; /* anyone may write an ICMP error */
  p->seen = (__u8)flow->tcp;
  if (is_connection(p->protocol)) {
    if (p->reply || is_answered_elsewhere(p)) p->seen |= FLOW_TCP_ANSWERED;
    if (p->tcp_flags & (TCP_FIN | TCP_RST)) p->seen |= FLOW_TCP_CLOSING;
  }
  if (p->seen == flow->tcp && p->now_ns - flow->last_seen_ns <= TOUCH_EVERY) return;
  flow->tcp = p->seen;
  flow->last_seen_ns = p->now_ns;
  if (p->nat) touch_other_half(p);
}

/* Of a NAT flow the other direction has an entry of its own, of DSR it passes elsewhere. */
static __always_inline _Bool is_one_way(const struct flow* entry) {
  return !!(entry->flags & (FLOW_NAT | FLOW_DSR));
}

static __always_inline _Bool speaks_of(const struct flow* entry, _Bool side) {
  return !is_one_way(entry) || side == !!(entry->flags & FLOW_OPENED_BY_B);
}

static __always_inline _Bool is_expired(const struct pkt* p, const struct flow* flow) {
  return p->now_ns - flow->last_seen_ns > timeout_ns(flow, p->protocol);
}

static __always_inline _Bool is_alive(const struct pkt* p, const struct flow* flow, _Bool side) {
  if (is_expired(p, flow)) return 0;
  /* A port used again soon: the old connection is over, so the new one may be given another backend.
   * But not of who speaks the other way: that is no port used again. */
  return !(is_connection(p->protocol) && (flow->tcp & FLOW_TCP_CLOSING) &&
           (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && speaks_of(flow, side));
}

static __always_inline struct flow* find_flow(struct pkt* p, _Bool side) {
  const struct flow_key key = key_of(&p->now, p->protocol);
  struct flow* entry = lookup(p, flows, &key);
  if (!entry || !is_alive(p, entry, side)) {
    p->shadowed = !!entry;
    p->opening = 1;
    entry = lookup(p, opening, &key);
    if (!entry || !is_alive(p, entry, side)) return 0;
  }
  if (speaks_of(entry, side)) return entry;
  p->occupied = 1;
  return 0;
}

/* A service is asked by the uplink. Its backend is the host's own socket: from now on its answers are looked
 * for there (host_answer.h). Or it is on another node: from now on XDP looks at what comes in. */
static __always_inline void note_who_serves(struct pkt* p) {
  const __u32 zero = 0;
  if (!(p->nat || p->dsr) || p->origin != FROM_UPLINK) return;
  __u32* noted = 0;
  if (p->hop.ifindex == p->ifindex) noted = lookup(p, passes_by, &zero);
  if (p->nat && p->hop.kind == HOP_HOST) noted = lookup(p, host_serves, &zero);
  if (noted && !*noted) *noted = 1;
}

static __always_inline _Bool was_answer_to(struct pkt* p, const struct flow* entry) {
  return entry && !speaks_of(entry, source_is_b(&p->now)) &&
         (is_expired(p, entry) || entry->tcp & FLOW_TCP_CLOSING);
}

/* A client begins with the host itself, from the port of a service's connection that is over: the host's
 * answers are no longer the service's. */
static __always_inline void end_answers_of_host(struct pkt* p) {
  if (!is_connection(p->protocol) || (p->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN) return;
  const struct flow_key key = key_of(&p->now, p->protocol);
  if (was_answer_to(p, lookup(p, flows, &key))) forget(p, flows, &key);
  if (was_answer_to(p, lookup(p, opening, &key))) forget(p, opening, &key);
}

static __always_inline enum verdict flow(struct pkt* p) {
  const __u32 zero = 0;
  const __u64* generation = lookup(p, generation, &zero);
  p->generation = generation ? (__u32)*generation : 0;
  p->now_ns = now(p);

  const _Bool side = source_is_b(&p->now);
  struct flow* entry = find_flow(p, side);
  if (!entry) return p->quoted ? not_ours(p, DROP_UNRELATED_ICMP) : CONTINUE;

  p->found = 1;
  p->reply =
      entry->flags & FLOW_NAT ? !!(entry->flags & FLOW_REPLY) : side != !!(entry->flags & FLOW_OPENED_BY_B);
  p->nat = !!(entry->flags & FLOW_NAT);
  p->dsr = !!(entry->flags & FLOW_DSR);
  if (is_one_way(entry)) p->to = entry->to;
  if (is_udp_to_backend(p, entry)) {
    /* An ICMP error is about what was, and begins nothing. */
    p->moved = p->quoted ? entry->moved : moved_of(p, &p->to.destination, p->to.destination_port);
    p->suspect = p->moved != entry->moved;
  }
  p->stale = !is_valid(p, entry);
  if (p->stale || !came_as_before(p, entry, side)) return CONTINUE;
  p->rule = entry->rule;
  p->hop = entry->hops[side];
  p->known = p->hop.kind != HOP_NONE;
  if (p->known) touch(p, entry);
  return CONTINUE;
}

/* ---- what stage 6 writes down for the packets to come ------------------------------------------------- */

static __always_inline void describe(struct pkt* p, struct flow* entry, _Bool side) {
  entry->last_seen_ns = p->now_ns;
  entry->generation = p->generation;
  entry->epochs[0] = p->epochs[0], entry->epochs[1] = p->epochs[1];
  entry->rule_sets[0] = p->rule_sets[0], entry->rule_sets[1] = p->rule_sets[1];
  entry->rule = p->rule;
  entry->moved = p->moved;
  entry->flags = side ? FLOW_OPENED_BY_B : 0;
  entry->tcp = p->tcp_flags & TCP_SYN ? FLOW_TCP_SYN : 0;
  entry->to = p->to;
  entry->hops[0].kind = entry->hops[1].kind = HOP_NONE;
  entry->hops[side] = p->hop;
  entry->arrived[0] = entry->arrived[1] = 0;
  remember_way(p, entry, side);
}

proved_alone int remember_new(struct pkt* p) {
  const __u32 zero = 0;
  if (!p) return 0;
  note_who_serves(p);
  if (p->occupied && !p->nat) return 0; /* a stranger's packet may not put an end to a pod's flow */
  struct flow* entry = lookup(p, scratch, &zero);
  if (!entry) return 0;
  struct flow_key key = key_of(&p->now, p->protocol);
  describe(p, entry, source_is_b(&p->now));
  if (p->nat) entry->flags |= FLOW_NAT;
  if (p->dsr) entry->flags |= FLOW_DSR;
  if (p->shadowed) forget(p, flows, &key);
  insert(p, opening, &key, entry);
  if (!p->nat) return 0;

  const struct tuple answer = reversed(&p->to);
  const _Bool side = source_is_b(&answer);
  key = key_of(&answer, p->protocol);
  describe(p, entry, side);
  entry->flags |= FLOW_NAT | FLOW_REPLY;
  entry->to = reversed(&p->now);
  entry->moved = 0;
  entry->hops[side].kind = HOP_NONE; /* found when the first answer comes */
  entry->arrived[side] = 0;
  if (p->shadowed) forget(p, flows, &key);
  return insert(p, opening, &key, entry);
}

/* Whoever moves an entry while another CPU does the same writes the same. */
static __always_inline void settle_entry(struct pkt* p, const struct tuple* t) {
  const struct flow_key key = key_of(t, p->protocol);
  struct flow* entry = lookup(p, opening, &key);
  if (entry && !insert(p, flows, &key, entry)) forget(p, opening, &key);
}

/* The first answer has passed: both entries of a NAT, the only one of a flow without. */
proved_alone int settle(struct pkt* p) {
  if (!p) return 0;
  settle_entry(p, &p->now);
  if (!p->nat) return 0;
  const struct tuple answer = reversed(&p->to);
  settle_entry(p, &answer);
  return 0;
}

/* Decided anew, or the first packet of its direction: what is new goes into the entry that stands. The hop's
 * kind is written last, since another CPU may be reading. */
proved_alone int remember_again(struct pkt* p) {
  if (!p) return 0;
  const struct flow_key key = key_of(&p->now, p->protocol);
  struct flow* entry = p->opening ? lookup(p, opening, &key) : lookup(p, flows, &key);
  if (!entry) return 0; /* evicted meanwhile */
  note_who_serves(p);
  const _Bool side = source_is_b(&p->now);
  if (p->stale) entry->hops[!side].kind = HOP_NONE; /* the other side's way may have changed as well */
  struct hop hop = p->hop;
  hop.kind = HOP_NONE;
  entry->hops[side] = hop;
  entry->rule = p->rule;
  entry->rule_sets[0] = p->rule_sets[0], entry->rule_sets[1] = p->rule_sets[1];
  entry->epochs[0] = p->epochs[0], entry->epochs[1] = p->epochs[1];
  entry->generation = p->generation;
  entry->moved = p->moved;
  remember_way(p, entry, side);
  entry->hops[side].kind = p->hop.kind;
  touch(p, entry);
  return 0;
}

#endif
