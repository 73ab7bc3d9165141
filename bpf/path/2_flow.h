/* Stage 2: has this been decided before? A valid flow entry answers everything; the packet goes straight to
 * stage 6.
 *
 * A flow that no one has answered yet stands among those that are opening, where floods push each other out;
 * its first answer moves it to the settled ones, which a flood therefore never reaches (flows.h).
 *
 * An entry whose rules or addresses have changed since keeps its rewriting (a connection must not change its
 * backend), but stages 4 and 5 decide anew whether it may go on. */
#ifndef THALWEG_2_FLOW_H
#define THALWEG_2_FLOW_H

#include "bpf/path/flows.h"
#include "bpf/path/headers.h"
#include "bpf/path/pkt.h"

/* last_seen_ns is written no more often than this: a busy flow's entry would otherwise bounce between CPUs.
 */
#define TOUCH_EVERY (1 * SECONDS)

static __always_inline _Bool source_is_b(const struct tuple* t) {
  if (t->source.halves[0] != t->destination.halves[0]) return t->source.halves[0] > t->destination.halves[0];
  if (t->source.halves[1] != t->destination.halves[1]) return t->source.halves[1] > t->destination.halves[1];
  return t->source_port > t->destination_port;
}

/* Where it is to stand: a copy of it would take the stack of functions that have none to spare. */
static __always_inline void put_key(struct flow_key* key, const struct tuple* t, __u8 protocol) {
  const _Bool turned = source_is_b(t);
  const __u16 a_port = turned ? t->destination_port : t->source_port;
  const __u16 b_port = turned ? t->source_port : t->destination_port;
  const __u64 rest = (__u64)protocol << 32 | (__u64)b_port << 16 | a_port; /* in one word (pkt.h) */
  key->a = turned ? t->destination : t->source;
  key->b = turned ? t->source : t->destination;
  copy(&key->a_port, &rest, sizeof rest);
}

static __always_inline struct flow_key key_of(const struct tuple* t, __u8 protocol) {
  struct flow_key key = {};
  put_key(&key, t, protocol);
  return key;
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
  const struct flow_key key = key_of(&p->to, p->protocol); /* the same both ways */
  struct flow_row* other = row_of(p, find_row(p, &key));
  if (!other || !(other->flow.flags & FLOW_NAT) || !is_reverse(&other->flow.to, &p->now)) return 0;
  other->flow.tcp |= p->seen;
  other->flow.last_seen_ns = p->now_ns;
  return 0;
}

/* The answers go another way; who has one goes on without a SYN. */
static __always_inline _Bool is_answered_elsewhere(const struct pkt* p) {
  return p->dsr && !p->nat && !(p->tcp_flags & TCP_SYN);
}

/* Whether the other half is to be touched, too. */
static __always_inline _Bool touch_half(struct pkt* p, struct flow* flow) {
  if (p->quoted) return 0; /* anyone may write an ICMP error */
  p->seen = (__u8)flow->tcp;
  if (is_connection(p->protocol)) {
    if (p->reply || is_answered_elsewhere(p)) p->seen |= FLOW_TCP_ANSWERED;
    if (p->tcp_flags & (TCP_FIN | TCP_RST)) p->seen |= FLOW_TCP_CLOSING;
  }
  if (p->seen == flow->tcp && p->now_ns - flow->last_seen_ns <= TOUCH_EVERY) return 0;
  flow->tcp = p->seen;
  flow->last_seen_ns = p->now_ns;
  return p->nat;
}
static __always_inline void touch(struct pkt* p, struct flow* flow) {
  if (touch_half(p, flow)) touch_other_half(p);
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

/* The row of the packet's flow, should it still stand and speak of this direction. */
static __always_inline struct flow_row* find_flow(struct pkt* p, _Bool side) {
  const struct flow_key key = key_of(&p->now, p->protocol);
  __u32 number = find_row(p, &key);
  if (!number && take_flow_over(p, &key)) number = find_row(p, &key);
  struct flow_row* row = row_of(p, number);
  p->opening = 1;
  if (!row) return 0;
  if (!is_alive(p, &row->flow, side)) {
    p->shadowed = 1;
    return 0;
  }
  p->opening = is_opening_row(number);
  if (speaks_of(&row->flow, side)) return row;
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
  return !speaks_of(entry, source_is_b(&p->now)) && (is_expired(p, entry) || entry->tcp & FLOW_TCP_CLOSING);
}

/* A client begins with the host itself, from the port of a service's connection that is over: the host's
 * answers are no longer the service's. */
static __always_inline void end_answers_of_host(struct pkt* p) {
  if (!is_connection(p->protocol) || (p->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN) return;
  const struct flow_key key = key_of(&p->now, p->protocol);
  const __u32 number = find_row(p, &key);
  const struct flow_row* row = row_of(p, number);
  if (row && was_answer_to(p, &row->flow)) forget_row(p, number, &key);
}

/* What the entry says of this packet. */
static __always_inline void recall(struct pkt* p, const struct flow* entry, _Bool side) {
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
  if (p->stale || !came_as_before(p, entry, side)) return;
  p->rule = entry->rule;
  p->hop = entry->hops[side];
  p->known = p->hop.kind != HOP_NONE;
}

/* The row became another flow's while it was read: this one's has been pushed out. */
static __always_inline void recall_nothing(struct pkt* p) {
  p->found = p->known = p->stale = p->reply = p->nat = p->dsr = p->suspect = 0;
  p->opening = 1;
  p->moved = 0;
  p->hop.kind = HOP_NONE;
  p->hop.ifindex = 0;
  p->to = p->now;
}

static __always_inline void take_other_half_over(struct pkt* p) {
  const struct flow_key key = key_of(&p->to, p->protocol);
  if (!find_row(p, &key)) (void)take_flow_over(p, &key);
}

static __always_inline enum verdict flow(struct pkt* p) {
  const __u32 zero = 0;
  const __u64* generation = lookup(p, generation, &zero);
  p->generation = generation ? (__u32)*generation : 0;
  p->now_ns = now(p);

  const _Bool side = source_is_b(&p->now);
  struct flow_row* row = find_flow(p, side);
  if (row) {
    recall(p, &row->flow, side);
    if (is_still_there(p, row)) {
      if (is_taking_over && p->nat) take_other_half_over(p);
      if (p->known) touch(p, &row->flow);
      return CONTINUE;
    }
    recall_nothing(p);
  }
  need_secret(p);
  return p->quoted ? not_ours(p, DROP_UNRELATED_ICMP) : CONTINUE;
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
  entry->hops[0].kind = entry->hops[1].kind = HOP_NONE;
  entry->hops[side] = p->hop;
  entry->arrived[0] = entry->arrived[1] = 0;
  remember_way(p, entry, side);
}

proved_alone int draft_question(struct pkt* p) {
  struct flow_row* draft = p ? draft_of(p) : 0;
  if (!draft) return 0;
  describe(p, &draft->flow, source_is_b(&p->now));
  draft->flow.to = p->to;
  put_key(&draft->key, &p->now, p->protocol);
  if (p->nat) draft->flow.flags |= FLOW_NAT;
  if (p->dsr) draft->flow.flags |= FLOW_DSR;
  return 0;
}

proved_alone int draft_answer(struct pkt* p) {
  struct flow_row* draft = p ? draft_of(p) : 0;
  if (!draft) return 0;
  struct flow* entry = &draft->flow;
  entry->to = reversed(&p->to);
  const _Bool side = source_is_b(&entry->to);
  describe(p, entry, side);
  put_key(&draft->key, &p->to, p->protocol);
  entry->flags |= FLOW_NAT | FLOW_REPLY;
  entry->to = reversed(&p->now);
  entry->moved = 0;
  entry->hops[side].kind = HOP_NONE; /* found when the first answer comes */
  entry->arrived[side] = 0;
  return 0;
}

static __always_inline void write_down(struct pkt* p) {
  if (p->shadowed) clear_draft(p);
  write_draft(p, 1);
}

static __always_inline void remember_new(struct pkt* p) {
  note_who_serves(p);
  if (p->occupied && !p->nat) return; /* a stranger's packet may not put an end to a pod's flow */
  draft_question(p);
  write_down(p);
  if (!p->nat) return;
  draft_answer(p);
  write_down(p);
}

proved_alone __u32 draft_half(struct pkt* p, __u32 other) {
  if (!p) return 0;
  const struct flow_key key = key_of(other ? &p->to : &p->now, p->protocol);
  return draft_opening(p, &key);
}

static __always_inline void settle_half(struct pkt* p, _Bool other) {
  const __u32 opening = draft_half(p, other);
  if (opening) forget_opening(p, opening, write_draft(p, 0));
}

/* The first answer has passed: both entries of a NAT, the only one of a flow without. */
static __always_inline void settle(struct pkt* p) {
  settle_half(p, 0);
  if (p->nat) settle_half(p, 1);
}

/* Decided anew, or the first packet of its direction: what is new goes into the entry that stands. The hop's
 * kind is written last, since another CPU may be reading. Whether the other half is to be touched. */
proved_alone int remember_again(struct pkt* p) {
  if (!p) return 0;
  const struct flow_key key = key_of(&p->now, p->protocol);
  const __u32 number = find_row(p, &key);
  struct flow_row* row = row_of(p, number);
  if (!row || !hold_row(p, number, &key)) return 0; /* pushed out meanwhile, or another CPU does the same */
  struct flow* entry = &row->flow;
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
  let_go(p, number);
  return touch_half(p, entry);
}

#endif
