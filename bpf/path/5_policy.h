/* Stage 5: may the opener speak to whom it wanted? The opener's egress rules first, then the other side's
 * ingress rules; each where that side is a pod of this node. NetworkPolicy:
 * https://kubernetes.io/docs/concepts/services-networking/network-policies/ */
#ifndef THALWEG_5_POLICY_H
#define THALWEG_5_POLICY_H

#include "bpf/path/4_identity.h"
#include "bpf/path/pkt.h"

static __always_inline const struct rule* find_rule(struct pkt* p, __u32 rule_set, __u8 direction,
                                                    __u32 identity) {
  struct rule_key key = {
      .prefixlen = RULE_BITS_ONE_PORT,
      .rule_set = rule_set,
      .identity = identity,
      .direction = direction,
      .protocol = p->protocol,
      .port = p->reply ? p->now.source_port : p->to.destination_port,
  };
  if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6) key.port = 0; /* an identifier is no port */
  return lookup(p, rules, &key);
}

static __always_inline _Bool allows(struct pkt* p, __u32 rule_set, __u8 direction, __u32 peer) {
  const struct rule_set* set = lookup(p, rule_sets, &rule_set);
  const __u32 isolates = direction == INGRESS ? RULE_SET_ISOLATES_INGRESS : RULE_SET_ISOLATES_EGRESS;
  if (!set || !(set->flags & isolates)) return 1;
  const struct rule* rule = find_rule(p, rule_set, direction, peer);
  if (!rule) rule = find_rule(p, rule_set, direction, IDENTITY_ANY);
  if (!rule || rule->verdict != RULE_ALLOW) return 0;
  p->rule = rule->id;
  return 1;
}

/* "Traffic to and from the node where a Pod is running is always allowed." */
static __always_inline _Bool is_with_this_node(struct pkt* p) {
  if (p->hop.kind == HOP_HOST) return 1;
  const _Bool from_host =
      p->origin == FROM_HOST || p->origin == TO_POD; /* from anywhere else it was spoofed */
  return from_host && kind_of(route_to(p, &p->now.source)) == ROUTE_HOST;
}

proved_alone enum verdict policy(struct pkt* p) {
  if (!p) return DROP;
  if (!p->rule_sets[0] && !p->rule_sets[1]) return CONTINUE;
  if (same_addr(opener(p), wanted(p))) return CONTINUE; /* "A Pod cannot block access to itself." */
  if (is_with_this_node(p)) return CONTINUE;
  if (!allows(p, p->rule_sets[0], EGRESS, p->identities[1])) return drop(p, DROP_POLICY_EGRESS);
  if (!allows(p, p->rule_sets[1], INGRESS, p->identities[0])) return drop(p, DROP_POLICY_INGRESS);
  return CONTINUE;
}

#endif
