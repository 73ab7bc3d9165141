#include "kube/endpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace thalweg::kube {

namespace {

constexpr size_t kEndpointsPerSlice = 100;
constexpr const char* kServiceLabel = "kubernetes.io/service-name";

// Pods by one label they carry, so that a Service looks only at the few that could match.
class PodIndex {
 public:
  explicit PodIndex(const Cluster& cluster) {
    for (const auto& [key, pod] : cluster.pods) {
      for (const auto& [label, value] : pod->meta.labels)
        by_label_[{key.ns, label, value}].push_back(pod.get());
    }
  }

  std::vector<const Pod*> matching(const Service& service) const {
    const std::vector<const Pod*>* fewest = nullptr;
    for (const auto& [label, value] : service.selector) {
      const auto found = by_label_.find({service.meta.key.ns, label, value});
      if (found == by_label_.end()) return {};
      if (!fewest || found->second.size() < fewest->size()) fewest = &found->second;
    }
    std::vector<const Pod*> pods;
    std::ranges::copy_if(*fewest, std::back_inserter(pods),
                         [&](const Pod* pod) { return selects(service, *pod); });
    return pods;
  }

 private:
  static bool selects(const Service& service, const Pod& pod) {
    return std::ranges::all_of(service.selector, [&](const auto& wanted) {
      const auto label = pod.meta.labels.find(wanted.first);
      return label != pod.meta.labels.end() && label->second == wanted.second;
    });
  }

  std::map<std::tuple<std::string_view, std::string_view, std::string_view>, std::vector<const Pod*>>
      by_label_;
};

uint16_t resolve(const PortRef& target, Protocol protocol, const Pod& pod) {
  if (target.name.empty()) return target.number;
  for (const auto& port : pod.ports) {
    if (port.name == target.name && port.protocol == protocol) return port.port;
  }
  return 0;
}

// A named target port the pod does not have is left out for that pod.
std::vector<EndpointPort> resolve_ports(const Service& service, const Pod& pod) {
  std::vector<EndpointPort> ports;
  for (const auto& port : service.ports) {
    const uint16_t number = resolve(port.target_port, port.protocol, pod);
    if (number) ports.push_back({port.name, port.protocol, number});
  }
  return ports;
}

Endpoint make_endpoint(const Service& service, const Pod& pod, std::vector<Ip> addresses) {
  Endpoint endpoint;
  endpoint.addresses = std::move(addresses);
  endpoint.serving = pod.ready;
  endpoint.terminating = pod.meta.terminating;
  // Never ready while terminating, unless the Service asks for pods in any state.
  endpoint.ready = service.publish_not_ready || (pod.ready && !pod.meta.terminating);
  if (!pod.hostname.empty() && pod.subdomain == service.meta.key.name) endpoint.hostname = pod.hostname;
  endpoint.node_name = pod.node_name;
  return endpoint;
}

std::string describe(const std::vector<EndpointPort>& ports) {
  std::string text;
  for (const auto& port : ports)
    text += fmt::format("{}/{}/{};", port.name, static_cast<int>(port.protocol), port.port);
  return text;
}

// FNV-1a: names must be the same in every run.
uint32_t hash(std::string_view text) {
  uint32_t sum = 2166136261U;
  for (const char c : text) sum = (sum ^ static_cast<uint8_t>(c)) * 16777619U;
  return sum;
}

using Slices = std::vector<std::shared_ptr<const EndpointSlice>>;

void cut_slices(const Service& service, bool v4, const std::vector<EndpointPort>& ports,
                const std::vector<Endpoint>& endpoints, Slices& out) {
  const uint32_t ports_hash = hash(describe(ports));
  for (size_t from = 0; from < endpoints.size(); from += kEndpointsPerSlice) {
    auto slice = std::make_shared<EndpointSlice>();
    const auto& key = service.meta.key;
    slice->meta.key = {key.ns, fmt::format("{}-{}-{:08x}-{}", key.name, v4 ? "ipv4" : "ipv6", ports_hash,
                                           from / kEndpointsPerSlice)};
    slice->meta.labels = {{kServiceLabel, key.name}, {"endpointslice.kubernetes.io/managed-by", "thalweg"}};
    slice->service = key.name;
    slice->v4 = v4;
    slice->ports = ports;
    const size_t to = std::min(from + kEndpointsPerSlice, endpoints.size());
    slice->endpoints.assign(endpoints.begin() + static_cast<ptrdiff_t>(from),
                            endpoints.begin() + static_cast<ptrdiff_t>(to));
    out.push_back(std::move(slice));
  }
}

void derive_family(const Service& service, bool v4, const std::vector<const Pod*>& pods, Slices& out) {
  struct Group {
    std::vector<EndpointPort> ports;
    std::vector<Endpoint> endpoints;
  };
  std::map<std::string, Group> groups;
  for (const Pod* pod : pods) {
    if (pod->finished) continue;
    std::vector<Ip> addresses;
    std::ranges::copy_if(pod->ips, std::back_inserter(addresses),
                         [&](const Ip& ip) { return ip.is_v4() == v4; });
    if (addresses.empty()) continue;
    auto ports = resolve_ports(service, *pod);
    auto& group = groups[describe(ports)];
    group.ports = std::move(ports);
    group.endpoints.push_back(make_endpoint(service, *pod, std::move(addresses)));
  }
  for (const auto& [name, group] : groups) cut_slices(service, v4, group.ports, group.endpoints, out);
}

// The families of its cluster addresses; without any (headless) both.
bool has_family(const Service& service, bool v4) {
  return service.cluster_ips.empty() ||
         std::ranges::any_of(service.cluster_ips, [&](const Ip& ip) { return ip.is_v4() == v4; });
}

}  // namespace

Slices derive_endpoint_slices(const Cluster& cluster) {
  std::set<ObjectKey> served;
  for (const auto& [key, slice] : cluster.endpoint_slices) served.insert({key.ns, slice->service});
  const PodIndex index(cluster);
  Slices out;
  for (const auto& [key, service] : cluster.services) {
    if (service->selector.empty() || service->type == Service::Type::ExternalName || served.contains(key))
      continue;
    const auto pods = index.matching(*service);
    for (const bool v4 : {true, false}) {
      if (has_family(*service, v4)) derive_family(*service, v4, pods, out);
    }
  }
  return out;
}

}  // namespace thalweg::kube
