// Services: a Service with its EndpointSlices → rows of services and backends. Pure; compile calls it.
#pragma once

#include <span>
#include <vector>

#include "dataplane/intent/compile.h"
#include "dataplane/intent/fragment.h"

namespace thalweg::dataplane {

// What a service's fragment depends on besides its own objects.
struct ServiceSurroundings {
  const Config& config;
  std::vector<Ip> node_addresses;  // of this node: where NodePorts are served
};

Fragment service_fragment(const kube::Service& service, std::span<const kube::EndpointSlice* const> slices,
                          const ServiceSurroundings& around);

// An endpoint's address and port, in host order.
struct Target {
  Ip ip;
  uint16_t port = 0;
  auto operator<=>(const Target&) const = default;
};

// The endpoints a port of the service is balanced over, sorted: the ready ones, and if there are none those
// that still serve while they terminate (KEP-1669). local: of this node only.
std::vector<Target> targets(const kube::ServicePort& port, std::span<const kube::EndpointSlice* const> slices,
                            bool v4, bool local, const std::string& node_name);

}  // namespace thalweg::dataplane
