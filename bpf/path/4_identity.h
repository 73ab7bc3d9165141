/* Stage 4: addresses → who they are (identities, rule sets) and where they are (the hop). */
#ifndef THALWEG_4_IDENTITY_H
#define THALWEG_4_IDENTITY_H

#include "bpf/path/3_service.h"
#include "bpf/path/pkt.h"

/* Pods and nodes are named exactly; everything else by the longest ipBlock that holds it. */
static __always_inline __u32 identity_of(struct pkt* p, const struct addr* address) {
  const __u32* exact = lookup(p, identities, address);
  if (exact) return *exact;
  const struct prefix prefix = host_prefix(address);
  const __u32* block = lookup(p, prefixes, &prefix);
  return block ? *block : IDENTITY_NONE;
}

static __always_inline void take_rule_set(struct pkt* p, int direction, const struct endpoint* endpoint) {
  p->rule_sets[direction] = endpoint ? endpoint->rule_set : 0;
  p->epochs[direction] = p->rule_sets[direction] ? epoch_of(p, p->rule_sets[direction]) : 0;
}

/* The flow's opener and whom it wanted, whichever way this packet goes: after the choice of a backend, before
 * any masquerade. Policies speak of these two. */
static __always_inline const struct addr* opener(const struct pkt* p) {
  return p->reply ? &p->to.destination : &p->now.source;
}
static __always_inline const struct addr* wanted(const struct pkt* p) {
  return p->reply ? &p->now.source : &p->to.destination;
}

/* A pod may send only from its own addresses. */
static __always_inline _Bool owns_source(const struct pkt* p, const struct endpoint* endpoint) {
  return endpoint && endpoint->ifindex == p->ifindex && same_mac(endpoint->mac, p->source_mac);
}

static __always_inline _Bool is_node(struct pkt* p, const struct addr* address) {
  const struct route* route = route_to(p, address);
  return route && route->flags & ROUTE_NODE_ADDRESS;
}

/* A tunnel packet is believed when it came from the node that holds its inner source. What did not come by
 * tunnel cannot be from a pod of a node that is reached by tunnel. What another node leaves to this one to
 * answer is from the world, and any node may. */
static __always_inline _Bool came_the_right_way(struct pkt* p) {
  if (is_confined(&p->now.source)) return 0;
  const struct route* back = route_to(p, &p->now.source);
  const __u32 kind = kind_of(back);
  if (p->tunneled && p->dsr) return kind == ROUTE_WORLD && is_node(p, &p->outer);
  if (p->tunneled) return back && kind == ROUTE_TUNNEL && same_addr(&back->peer, &p->outer);
  if (kind == ROUTE_TUNNEL) return back->flags & ROUTE_NODE_ADDRESS;
  return kind == ROUTE_WORLD || kind == ROUTE_DIRECT;
}

/* What a DHCP server says to a client (RFC 2131, RFC 8415). */
static __always_inline _Bool serves_dhcp(const struct pkt* p) {
  const __u16 from = net16(p->now.source_port), to = net16(p->now.destination_port);
  return p->protocol == PROTO_UDP && ((from == PORT_DHCP_SERVER && to == PORT_DHCP_CLIENT) ||
                                      (from == PORT_DHCPV6_SERVER && to == PORT_DHCPV6_CLIENT));
}

static __always_inline enum verdict check_source(struct pkt* p, const struct endpoint* source) {
  if (p->origin == FROM_POD && !owns_source(p, source)) return drop(p, DROP_SPOOFED_SOURCE);
  if (p->origin == FROM_POD && serves_dhcp(p)) return drop(p, DROP_DHCP_SERVER);
  if (p->origin == FROM_UPLINK && !came_the_right_way(p)) return drop(p, DROP_UNKNOWN_TUNNEL_PEER);
  return CONTINUE;
}

static __always_inline enum verdict to_endpoint(struct pkt* p, const struct endpoint* endpoint) {
  p->hop.kind = HOP_ENDPOINT;
  p->hop.ifindex = endpoint->ifindex;
  copy(p->hop.mac, endpoint->mac, 6);
  copy(p->hop.host_mac, endpoint->host_mac, 6);
  return CONTINUE;
}

/* What leaves with the node's address, or a service's: a NAT's packets, but for a pod's own questions. */
static __always_inline _Bool hides_pod(const struct pkt* p) {
  return p->nat && (p->origin != FROM_POD || p->reply);
}

static __always_inline enum verdict to_other_node(struct pkt* p, const struct node* node,
                                                  const struct route* route) {
  /* Between nodes' own addresses the underlay needs no tunnel; the other host's stack expects such packets
   * where it sends its own (reverse-path filter). */
  if (route->kind == ROUTE_TUNNEL && (route->flags & ROUTE_NODE_ADDRESS) && hides_pod(p)) {
    p->hop.kind = HOP_WORLD;
    p->hop.ifindex = node->uplink_ifindex;
    return CONTINUE;
  }
  /* A tunnel packet made by a pod would be taken for one made by this node. */
  if (p->origin == FROM_POD && (route->flags & ROUTE_NODE_ADDRESS) && p->protocol == PROTO_UDP &&
      p->to.destination_port == node->tunnel_port)
    return drop(p, DROP_TUNNEL_FROM_POD);
  p->hop.kind = route->kind == ROUTE_TUNNEL ? HOP_TUNNEL : HOP_DIRECT;
  p->hop.ifindex = node->uplink_ifindex;
  p->hop.peer = route->peer;
  p->hop.mtu = route->mtu;
  p->hop.flags = route->flags;
  return CONTINUE;
}

static __always_inline enum verdict to_host(struct pkt* p, const struct node* node) {
  if (p->origin == FROM_POD && p->protocol == PROTO_UDP && p->to.destination_port == node->tunnel_port)
    return drop(p, DROP_TUNNEL_FROM_POD);
  p->hop.kind = HOP_HOST;
  p->hop.ifindex = node->host_ifindex;
  return CONTINUE;
}

static __always_inline enum verdict to_world(struct pkt* p, const struct node* node) {
  if (p->origin == FROM_HOST) return drop(p, DROP_NO_ROUTE); /* the host sends the world's packets itself */
  p->hop.kind = HOP_WORLD;
  p->hop.ifindex = node->uplink_ifindex;
  return CONTINUE;
}

static __always_inline enum verdict find_hop(struct pkt* p, const struct endpoint* destination) {
  const __u32 zero = 0;
  const struct node* node = lookup(p, node, &zero);
  if (!node) return drop(p, DROP_NOT_CONFIGURED);
  if (destination) return to_endpoint(p, destination);
  const struct route* route = route_to(p, &p->to.destination);
  switch (kind_of(route)) {
    case ROUTE_HOST: return to_host(p, node);
    case ROUTE_TUNNEL:
    case ROUTE_DIRECT: return to_other_node(p, node, route);
    case ROUTE_POD_CIDR: return drop(p, DROP_NO_SUCH_POD);
    case ROUTE_SERVICE_CIDR: return drop(p, DROP_NO_SUCH_SERVICE);
    default: return to_world(p, node);
  }
}

/* From the underlay comes the host's own traffic too; only services, pods and known flows are the path's
 * business. */
static __always_inline _Bool is_hosts_own(const struct pkt* p) {
  return is_from_outside(p) && !p->found && !p->nat && !p->dsr && p->hop.kind != HOP_ENDPOINT;
}

proved_alone enum verdict identity(struct pkt* p) {
  if (!p) return DROP;
  const struct endpoint* source = lookup(p, endpoints, &p->now.source);
  const struct endpoint* destination = lookup(p, endpoints, &p->to.destination);
  const enum verdict found = find_hop(p, destination);
  if (is_hosts_own(p)) {
    end_answers_of_host(p);
    return PASS;
  }
  const __u8 reason = p->reason;
  const enum verdict belongs = check_source(p, source);
  if (belongs) return belongs;
  if (found) return drop(p, reason);
  take_rule_set(p, p->reply, source);
  take_rule_set(p, !p->reply, destination);
  p->identities[0] = identity_of(p, opener(p));
  p->identities[1] = identity_of(p, wanted(p));
  return CONTINUE;
}

#endif
