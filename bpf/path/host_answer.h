/* Beside the stages: what the host's stack sends out of the uplink. If a service's backend is this host
 * itself (a hostNetwork pod), its answers leave with the service's address and port, by the flow's entry
 * alone; nothing is decided, and no hop is spent. All else passes untouched and uncounted. The engines call
 * it for TO_UPLINK. */
#ifndef THALWEG_HOST_ANSWER_H
#define THALWEG_HOST_ANSWER_H

#include "bpf/path/1_parse.h"
#include "bpf/path/2_flow.h"
#include "bpf/path/6_rewrite.h"

/* Whether there can be such an answer at all. */
static __always_inline _Bool host_serves(struct pkt* p) {
  const __u32 zero = 0;
  const __u32* serves = lookup(p, host_serves, &zero);
  return serves && *serves;
}

/* CONTINUE: it is one. */
static __always_inline enum verdict find_question(struct pkt* p) {
  p->now_ns = now(p);
  const _Bool side = source_is_b(&p->now);
  struct flow_row* row = find_flow(p, side);
  if (!row || !(row->flow.flags & FLOW_NAT) || !(row->flow.flags & FLOW_REPLY)) return PASS;
  p->reply = p->nat = 1;
  p->to = row->flow.to;
  p->rule = row->flow.rule;
  if (!is_still_there(p, row)) return PASS;
  touch(p, &row->flow);
  if (p->opening && !p->quoted) settle(p);
  return CONTINUE;
}

static __always_inline enum verdict host_answer(struct carried* carried) {
  const __u32 zero = 0;
  struct pkt* p = &carried->pkt;
  if (!host_serves(p)) return PASS;
  carried->node = lookup(p, node, &zero);
  if (!carried->node) return PASS;
  enum verdict verdict = parse(p);
  trace(p, "parse", verdict);
  if (!verdict) verdict = find_question(p);
  trace(p, "flow", verdict);
  if (verdict) return verdict;
  verdict = p->quoted ? translate_error(p) : translate(p);
  count(p, p->reason, p->length);
  return verdict ? verdict : PASS;
}

#endif
