/* Where an address is: the longest prefix of the table routes that holds it. */
#ifndef THALWEG_ROUTES_H
#define THALWEG_ROUTES_H

#include "bpf/path/pkt.h"

static __always_inline struct prefix host_prefix(const struct addr* address) {
  struct prefix prefix = {.prefixlen = 128};
  copy(prefix.bytes, address->bytes, 16);
  return prefix;
}

static __always_inline const struct route* route_to(struct pkt* p, const struct addr* address) {
  const struct prefix prefix = host_prefix(address);
  return lookup(p, routes, &prefix);
}

static __always_inline __u32 kind_of(const struct route* route) { return route ? route->kind : ROUTE_WORLD; }

#endif
