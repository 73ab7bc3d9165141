#include "dataplane/intent/endpoints.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace thalweg::dataplane {

namespace {

constexpr const char* kOtherProxyLabel = "service.kubernetes.io/service-proxy-name";
constexpr const char* kHeadlessLabel = "service.kubernetes.io/headless";

// The better comes first of those that are one target in several slices.
enum class State : uint8_t { Ready, Draining };

struct Candidate {
  Target target;
  State state;
  bool local;
  const kube::Endpoint* endpoint;
  auto order() const { return std::tuple(target, state, !local); }
};

using Candidates = std::vector<Candidate>;

bool serves(const kube::EndpointPort& offered, const kube::ServicePort& asked) {
  return offered.name == asked.name && offered.protocol == asked.protocol && offered.port != 0;
}

void add(const kube::EndpointSlice& slice, uint16_t port, const Place& place, Candidates& out) {
  for (const auto& endpoint : slice.endpoints) {
    const bool draining = endpoint.serving && endpoint.terminating;
    if (endpoint.addresses.empty() || (!endpoint.ready && !draining)) continue;
    // Further addresses of one endpoint are the same thing again (EndpointSlice: consumers take the first).
    const Ip& ip = endpoint.addresses.front();
    if (ip.is_v4() != slice.v4) continue;
    out.push_back({{ip, port},
                   endpoint.ready ? State::Ready : State::Draining,
                   !place.nowhere && endpoint.node_name == place.node_name,
                   &endpoint});
  }
}

Candidates candidates(const kube::ServicePort& port, std::span<const kube::EndpointSlice* const> slices,
                      bool v4, const Place& place) {
  Candidates out;
  for (const auto* slice : slices) {
    if (slice->v4 != v4) continue;
    for (const auto& offered : slice->ports)
      if (serves(offered, port)) add(*slice, offered.port, place, out);
  }
  std::ranges::stable_sort(out, {}, &Candidate::order);
  const auto twice = std::ranges::unique(out, {}, &Candidate::target);
  out.erase(twice.begin(), twice.end());
  return out;
}

template <class F>
std::vector<Target> those(const Candidates& all, F&& wanted) {
  std::vector<Target> out;
  for (const auto& one : all)
    if (wanted(one)) out.push_back(one.target);
  return out;
}

bool is_ready(const Candidate& one) { return one.state == State::Ready; }

bool names(const std::vector<std::string>& hints, const std::string& place) {
  return std::ranges::find(hints, place) != hints.end();
}

// Hints are followed only if every ready endpoint has them and one at least is meant for this place: whoever
// wrote them knew of all endpoints and of this place.
using Hints = std::vector<std::string> kube::Endpoint::*;
bool are_followed(const Candidates& all, Hints hints, const std::string& place) {
  bool meant_for_us = false;
  for (const auto& one : all) {
    if (!is_ready(one)) continue;
    const auto& of_one = one.endpoint->*hints;
    if (of_one.empty()) return false;
    meant_for_us |= names(of_one, place);
  }
  return meant_for_us && !place.empty();
}

std::vector<Target> ready_near(const Candidates& all, const Place& place) {
  const auto meant_for = [&](Hints hints, const std::string& where) {
    return those(all,
                 [&](const Candidate& one) { return is_ready(one) && names(one.endpoint->*hints, where); });
  };
  if (!place.nowhere && are_followed(all, &kube::Endpoint::node_hints, place.node_name))
    return meant_for(&kube::Endpoint::node_hints, place.node_name);
  if (!place.nowhere && are_followed(all, &kube::Endpoint::zone_hints, place.zone))
    return meant_for(&kube::Endpoint::zone_hints, place.zone);
  return those(all, is_ready);
}

}  // namespace

Choice choose_endpoints(const kube::ServicePort& port, std::span<const kube::EndpointSlice* const> slices,
                        bool v4, const Place& place) {
  const auto all = candidates(port, slices, v4, place);
  Choice out{.cluster = ready_near(all, place),
             .local = those(all, [](const Candidate& one) { return is_ready(one) && one.local; }),
             .anywhere = those(all, is_ready)};
  if (out.anywhere.empty()) out.cluster = out.anywhere = those(all, [](const Candidate&) { return true; });
  if (out.local.empty()) out.local = those(all, [](const Candidate& one) { return one.local; });
  return out;
}

bool is_served(const kube::Service& service) {
  return service.type != kube::Service::Type::ExternalName && !service.headless &&
         !service.meta.labels.contains(kOtherProxyLabel) && !service.meta.labels.contains(kHeadlessLabel);
}

// What drains here is still served, but the balancer should bring no more.
std::optional<HealthCheck> health_check(const kube::Service& service,
                                        std::span<const kube::EndpointSlice* const> slices,
                                        const Place& place) {
  const bool asked = service.type == kube::Service::Type::LoadBalancer && service.external_local;
  if (!asked || !service.health_check_node_port || place.nowhere || !is_served(service)) return std::nullopt;
  std::set<Ip> ready;
  for (const auto* slice : slices)
    for (const auto& endpoint : slice->endpoints)
      if (endpoint.ready && endpoint.node_name == place.node_name && !endpoint.addresses.empty())
        ready.insert(endpoint.addresses.front());
  HealthCheck out{.port = service.health_check_node_port};
  for (const auto& ip : ready) ++out.local_endpoints[ip.is_v4()];
  return out;
}

}  // namespace thalweg::dataplane
