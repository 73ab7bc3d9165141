/* The packet path: the stages in order. An engine includes its port first, then this, and calls path(). */
#ifndef THALWEG_PATH_H
#define THALWEG_PATH_H

#include "bpf/path/pkt.h"

/* In the order a packet meets them. */
#include "bpf/path/1_parse.h"
#include "bpf/path/2_flow.h"
#include "bpf/path/3_service.h"
#include "bpf/path/4_identity.h"
#include "bpf/path/5_policy.h"
#include "bpf/path/6_rewrite.h"
#include "bpf/path/7_forward.h"
#include "bpf/path/refusal.h"

/* One stage: run it, show it to whoever traces, and end here if it has decided. */
#define STAGE(stage)                         \
  do {                                       \
    enum verdict verdict = stage(p);         \
    trace(p, #stage, verdict);               \
    if (verdict != CONTINUE) return verdict; \
  } while (0)

static __always_inline enum verdict stages(struct pkt* p) {
  STAGE(parse);
  STAGE(flow);
  if (!p->known) {
    STAGE(service);
    STAGE(identity);
    STAGE(policy);
  }
  STAGE(rewrite);
  STAGE(forward);
  return drop(p, DROP_NO_ROUTE); /* forward() always decides */
}

/* PASS, DROP or REDIRECT; counted. A packet dropped whose sender is told so is counted as dropped, and
 * leaves as the answer. The packet has port, origin, ifindex and length; everything else is zero. Not for
 * TO_UPLINK: host_answer.h.
 */
static __always_inline enum verdict path(struct carried* carried) {
  const __u32 zero = 0;
  struct pkt* p = &carried->pkt;
  const __u32 length = p->length;
  carried->node = lookup(p, node, &zero);
  enum verdict verdict;
  if (!carried->node || !carried->node->masquerade_last)
    verdict = p->origin == FROM_UPLINK ? PASS : drop(p, DROP_NOT_CONFIGURED);
  else
    verdict = stages(p);
  if (verdict != DROP) p->reason = DROP_NONE;
  count(p, p->reason, length);
  return verdict == DROP ? refuse(p) : verdict;
}

#include "bpf/path/host_answer.h"

#endif
