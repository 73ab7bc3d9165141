/* Stage 3: a service's address → one of its backends. Only the first packet of a flow comes here.
 *
 * From inside (pods, this node) a backend is chosen by random; from outside by Maglev, whose tables are equal
 * on all nodes, so that a flow keeps its backend when the underlay moves it to another node. Session affinity
 * comes before either. */
#ifndef THALWEG_3_SERVICE_H
#define THALWEG_3_SERVICE_H

#include "bpf/path/2_flow.h"
#include "bpf/path/pkt.h"
#include "bpf/path/routes.h"

/* From outside only what is meant for outside: a ClusterIP is reachable from the cluster's own side alone. */
#define SERVICE_FROM_OUTSIDE (SERVICE_NODE_PORT | SERVICE_LOAD_BALANCER | SERVICE_EXTERNAL_IP)

static __always_inline _Bool is_from_outside(const struct pkt* p) {
  return p->origin == FROM_UPLINK && (!p->tunneled || p->dsr);
}

static __always_inline enum audience audience_of(const struct pkt* p) {
  return is_from_outside(p) ? OUTSIDE : INSIDE;
}

/* Whose slots an audience uses. */
static __always_inline __u32 slots_of(const struct pkt* p, const struct service* service) {
  return service->flags & SERVICE_APART ? audience_of(p) : INSIDE;
}

static __always_inline struct service_key asked_for(const struct pkt* p) {
  struct service_key key = {
      .address = p->now.destination, .port = p->now.destination_port, .protocol = p->protocol};
  return key;
}

static __always_inline _Bool serves(struct pkt* p, const struct service_key* key,
                                    const struct service* service, const struct backend* backend) {
  const struct member_key member = {.service = *key,
                                    .address = backend->address,
                                    .port = backend->port,
                                    .audience = (__u8)slots_of(p, service)};
  return lookup(p, members, &member) != 0;
}

/* loadBalancerSourceRanges. */
static __always_inline _Bool may_ask(struct pkt* p, const struct service_key* key,
                                     const struct service* service) {
  if (!(service->flags & SERVICE_SOURCE_RANGES)) return 1;
  const struct source_range_key client = {.prefixlen = SOURCE_RANGE_BITS + 128,
                                          .port = key->port,
                                          .protocol = key->protocol,
                                          .address = key->address,
                                          .client = p->now.source};
  return lookup(p, source_ranges, &client) != 0;
}

/* ---- choosing ----------------------------------------------------------------------------------------- */

/* The same on every node: nothing of this node goes in. An affine client's ports do not count. */
static __always_inline __u32 maglev_position(const struct pkt* p, const struct service* service) {
  struct tuple client = p->now;
  if (service->affinity_s) client.source_port = 0;
  return (__u32)(mix_of(&client, p->protocol) >> 32) % service->maglev;
}

static __always_inline __u32 choose_slot(struct pkt* p, const struct service_key* key,
                                         const struct service* service, __u32 backends) {
  if (service->maglev && is_from_outside(p)) {
    const __u32 position = maglev_position(p, service);
    const struct maglev_key at = {.service = *key, .row = position / MAGLEV_ROW};
    const struct maglev_row* row = lookup(p, maglev, &at);
    /* Rows may be on their way from one number of backends to another. */
    if (row) return row->slots[position % MAGLEV_ROW] % backends;
  }
  return random32(p) % backends;
}

static __always_inline const struct backend* backend_at(struct pkt* p, const struct service_key* key,
                                                        const struct service* service, __u32 slot) {
  const struct backend_key at = {.service = *key, .slot = slot, .audience = slots_of(p, service)};
  return lookup(p, backends, &at);
}

static __always_inline _Bool is_for_dsr(const struct pkt* p, const struct service* service) {
  return is_from_outside(p) && service->flags & SERVICE_DSR;
}

/* The backend this client had, while it serves and the client comes back in time. */
static __always_inline const struct backend* same_as_before(struct pkt* p, const struct service_key* key,
                                                            const struct service* service) {
  const struct affinity_key client = {.service = *key, .client = p->now.source};
  struct affinity* last = lookup(p, affinities, &client);
  if (!last || p->now_ns - last->last_seen_ns > service->affinity_s * SECONDS) return 0;
  if (!serves(p, key, service, &last->backend)) return 0;
  last->last_seen_ns = p->now_ns;
  return &last->backend;
}

static __always_inline void remember_client(struct pkt* p, const struct service_key* key,
                                            const struct backend* backend) {
  const struct affinity_key client = {.service = *key, .client = p->now.source};
  const struct affinity chosen = {.last_seen_ns = p->now_ns, .backend = *backend};
  insert(p, affinities, &client, &chosen);
}

static __always_inline const struct backend* choose_backend(struct pkt* p, const struct service_key* key,
                                                            const struct service* service, __u32 backends) {
  /* Two nodes choose for DSR, and only one of them may have seen the client before. */
  const _Bool affine = service->affinity_s && !is_for_dsr(p, service);
  const struct backend* backend = affine ? same_as_before(p, key, service) : 0;
  if (backend) return backend;
  backend = backend_at(p, key, service, choose_slot(p, key, service, backends));
  if (backend && affine) remember_client(p, key, backend);
  return backend;
}

/* Who asks a service without endpoints is told so; where the policy is Local, other nodes may have some, and
 * nothing is said. */
static __always_inline enum verdict no_backend(struct pkt* p, const struct service* service) {
  const __u32 local = is_from_outside(p) ? SERVICE_OUTSIDE_LOCAL : SERVICE_INSIDE_LOCAL;
  return drop(p, service->flags & local ? DROP_NO_LOCAL_BACKEND : DROP_NO_BACKEND);
}

static __always_inline _Bool is_here(struct pkt* p, const struct addr* address) {
  return lookup(p, endpoints, address) || kind_of(route_to(p, address)) == ROUTE_HOST;
}

/* Direct server return: the packet goes to the backend's node as it came. There the tables are the same, so
 * that the same backend is chosen, and its answer leaves with the service's address. */
static __always_inline enum verdict leave_to_backends_node(struct pkt* p) {
  const _Bool here = is_here(p, &p->to.destination);
  if (p->tunneled && !here) return drop(p, DROP_NO_LOCAL_BACKEND); /* the nodes' tables differ for a moment */
  p->dsr = !here || p->tunneled;
  p->nat = here;
  return CONTINUE;
}

static __always_inline enum verdict serve(struct pkt* p, const struct service_key* key,
                                          const struct service* service) {
  if (!may_ask(p, key, service)) return drop(p, DROP_SOURCE_RANGE);
  const __u32 backends = service->backends[audience_of(p)];
  if (!backends) return no_backend(p, service);
  const struct backend* backend = choose_backend(p, key, service, backends);
  if (!backend) return no_backend(p, service);
  p->to.destination = backend->address;
  p->to.destination_port = backend->port;
  p->moved = moved_of(p, &backend->address, backend->port);
  p->nat = 1;
  return is_for_dsr(p, service) ? leave_to_backends_node(p) : CONTINUE;
}

/* ---- UDP knows no end: a flow whose backend serves no more begins again ------------------------------- */

static __always_inline _Bool still_serves(struct pkt* p) {
  const struct service_key key = asked_for(p);
  const struct service* service = lookup(p, services, &key);
  if (!service) return same_addr(&p->now.destination, &p->to.destination); /* no service's flow at all */
  const struct backend backend = {.address = p->to.destination, .port = p->to.destination_port};
  return serves(p, &key, service, &backend);
}

static __always_inline void begin_again(struct pkt* p) {
  p->shadowed = 1;
  p->opening = 1;
  p->found = 0;
  p->stale = p->nat = p->dsr = 0;
  p->to = p->now;
}

static __always_inline _Bool is_left_to_this_node(struct pkt* p, const struct service* service) {
  return p->tunneled && service->flags & SERVICE_DSR && kind_of(route_to(p, &p->now.source)) == ROUTE_WORLD;
}

proved_alone enum verdict service(struct pkt* p) {
  if (!p) return DROP;
  if (p->suspect && !still_serves(p)) begin_again(p);
  if (p->found || p->origin == TO_POD) return CONTINUE;
  struct service_key key = asked_for(p);
  const struct service* found = lookup(p, services, &key);
  if (found && is_left_to_this_node(p, found)) p->dsr = 1;
  if (found)
    return is_from_outside(p) && !(found->flags & SERVICE_FROM_OUTSIDE) ? CONTINUE : serve(p, &key, found);
  key.port = 0, key.protocol = 0;
  found = lookup(p, services, &key);
  if (!found || (is_from_outside(p) && !(found->flags & SERVICE_FROM_OUTSIDE))) return CONTINUE;
  return drop(p, DROP_NO_SERVICE_PORT);
}

#endif
