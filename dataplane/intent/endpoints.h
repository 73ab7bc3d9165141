// Which endpoints a port of a Service is balanced over: readiness, hints, and what is on this node (KEP-1669,
// KEP-2086, KEP-3015, KEP-4444). Pure; services.h makes rows of it.
#pragma once

#include <array>
#include <compare>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kube/object.h"

namespace thalweg::dataplane {

// An endpoint's address and port, in host order.
struct Target {
  Ip ip;
  uint16_t port = 0;
  auto operator<=>(const Target&) const = default;
};

// Where the choice is made.
struct Place {
  std::string node_name;
  std::string zone;  // the Node's label topology.kubernetes.io/zone; empty: none
  bool nowhere =
      false;  // an edge in front of the nodes: nothing is near it, so it takes what is ready anywhere
};

// Sorted by address and port, none twice.
struct Choice {
  std::vector<Target> cluster;   // under the policy Cluster; empty: nothing serves anywhere
  std::vector<Target> local;     // under the policy Local; some of these may be none of the above
  std::vector<Target> anywhere;  // under the policy Cluster where hints are not read: the same on every node
};

// The endpoints of one family for a port of the service. Ready ones, and only if there are none, those that
// serve while they terminate; Local asks that of this node's own.
Choice choose_endpoints(const kube::ServicePort& port, std::span<const kube::EndpointSlice* const> slices,
                        bool v4, const Place& place);

// Whether this node has anything to do with the Service: not if it is headless, only a name, or another
// proxy's.
bool is_served(const kube::Service& service);

// What a balancer in front of the nodes asks of each (spec.healthCheckNodePort of a LoadBalancer with
// externalTrafficPolicy: Local).
struct HealthCheck {
  uint16_t port = 0;
  std::array<uint32_t, 2> local_endpoints = {};  // of this node and ready; of IPv6, of IPv4
  bool operator==(const HealthCheck&) const = default;
};
std::optional<HealthCheck> health_check(const kube::Service& service,
                                        std::span<const kube::EndpointSlice* const> slices,
                                        const Place& place);

}  // namespace thalweg::dataplane
