/* Stage 3: a service's address → one of its backends. Only the first packet of a flow comes here. */
#ifndef THALWEG_3_SERVICE_H
#define THALWEG_3_SERVICE_H

#include "bpf/path/pkt.h"

/* From outside only what is meant for outside: a ClusterIP is reachable from the cluster's own side alone. */
#define SERVICE_FROM_OUTSIDE (SERVICE_NODE_PORT | SERVICE_LOAD_BALANCER | SERVICE_EXTERNAL_IP)

static __always_inline _Bool is_from_outside(const struct pkt* p) {
  return p->origin == FROM_UPLINK && !p->tunneled;
}

static __always_inline enum verdict choose_backend(struct pkt* p, const struct service_key* key,
                                                   const struct service* service) {
  const __u32 backends = service->backends[is_from_outside(p)];
  if (!backends) return drop(p, DROP_NO_BACKEND);
  struct backend_key slot = {
      .service = *key,
      .slot = random32(p) % backends,
      .audience = is_from_outside(p) && service->flags & SERVICE_APART ? OUTSIDE : INSIDE};
  const struct backend* backend = lookup(p, backends, &slot);
  if (!backend) return drop(p, DROP_NO_BACKEND);
  p->to.destination = backend->address;
  p->to.destination_port = backend->port;
  p->nat = 1;
  return CONTINUE;
}

out_of_line enum verdict service(struct pkt* p) {
  if (p->flow || p->origin == TO_POD) return CONTINUE;
  struct service_key key = {
      .address = p->now.destination, .port = p->now.destination_port, .protocol = p->protocol};
  const struct service* found = lookup(p, services, &key);
  if (found) {
    if (is_from_outside(p) && !(found->flags & SERVICE_FROM_OUTSIDE)) return CONTINUE;
    return choose_backend(p, &key, found);
  }
  key.port = 0, key.protocol = 0;
  found = lookup(p, services, &key);
  if (!found || (is_from_outside(p) && !(found->flags & SERVICE_FROM_OUTSIDE))) return CONTINUE;
  return drop(p, DROP_NO_SERVICE_PORT);
}

#endif
