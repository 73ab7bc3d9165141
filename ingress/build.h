// From Kubernetes objects to the route table: a pure function of the Cluster. Called by main.cc on every
// change.
#pragma once

#include <string>
#include <vector>

#include "ingress/routes.h"
#include "kube/cluster.h"

namespace thalweg::ingress {

struct BuildOptions {
  std::string class_name =
      "thalweg";          // spec.ingressClassName, or the older annotation kubernetes.io/ingress.class
  bool classless = true;  // also Ingresses that name no class
};

struct Built {
  RouteTable routes;
  std::vector<std::string> warnings;  // one line each: which object, which field, what was done instead
};

// https://kubernetes.io/docs/concepts/services-networking/ingress/. Where two Ingresses claim the same host
// and path the older one has it (of the same second: the one whose namespace/name sorts first), so that
// nobody takes over a path that is served. A Service that is missing or has no ready endpoints keeps its
// route (answered 503), so that a request never falls through to somebody else's.
Built build_routes(const kube::Cluster& cluster, const BuildOptions& options);

// True when this ingress serves the object; also decides whose TLS entries count.
bool serves(const kube::Ingress& ingress, const BuildOptions& options);

// True for what spec.rules[].host may be: a DNS name in lower case, its first label alone may be "*".
bool valid_host(std::string_view host);

}  // namespace thalweg::ingress
