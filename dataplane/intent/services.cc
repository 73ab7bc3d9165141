#include "dataplane/intent/services.h"

#include <arpa/inet.h>

#include <algorithm>
#include <set>

namespace thalweg::dataplane {

namespace {

// One way in: an address of the service.
struct Address {
  Ip ip;
  uint32_t flag;  // SERVICE_*
  bool local;     // only endpoints of this node
};

std::string_view name_of(uint32_t flag) {
  switch (flag) {
    case SERVICE_CLUSTER_IP: return "ClusterIP";
    case SERVICE_NODE_PORT: return "NodePort";
    case SERVICE_LOAD_BALANCER: return "LoadBalancer address";
    default: return "external IP";
  }
}

std::string_view name_of(kube::Protocol protocol) {
  return protocol == kube::Protocol::TCP ? "TCP" : protocol == kube::Protocol::UDP ? "UDP" : "SCTP";
}

service_key key_of(const Ip& ip, uint16_t port, uint8_t protocol) {
  service_key key{};
  key.address = to_addr(ip);
  key.port = htons(port);
  key.protocol = protocol;
  return key;
}

// The addresses of a service that do not depend on its ports, better claims first, no address twice.
class Addresses {
 public:
  Addresses(const kube::Service& service, const ServiceSurroundings& around,
            std::vector<std::string>& complaints)
      : service_(service), around_(around), complaints_(complaints) {
    if (!around.config.edge)
      for (const auto& ip : service.cluster_ips) add(ip, SERVICE_CLUSTER_IP, service.internal_local);
    add_load_balancer();
    for (const auto& ip : service.external_ips) add_external(ip);
  }
  std::vector<Address> take() { return std::move(out_); }

 private:
  void add(const Ip& ip, uint32_t flag, bool local) {
    if (ip.is_none() || !seen_.insert(ip).second) return;
    out_.push_back({ip, flag, local && !around_.config.edge});
  }

  void add_load_balancer() {
    if (service_.type != kube::Service::Type::LoadBalancer || service_.load_balancer_ips.empty()) return;
    // Serving everyone what was meant for some would be worse than serving no one.
    if (!service_.load_balancer_source_ranges.empty()) {
      complaints_.push_back(
          "loadBalancerSourceRanges is not supported; its LoadBalancer addresses are not served");
      return;
    }
    for (const auto& ip : service_.load_balancer_ips) add(ip, SERVICE_LOAD_BALANCER, service_.external_local);
  }

  void add_external(const Ip& ip) {
    const auto& allowed = around_.config.external_ip_cidrs;
    if (std::ranges::any_of(allowed, [&](const Cidr& cidr) { return cidr.contains(ip); }))
      add(ip, SERVICE_EXTERNAL_IP, service_.external_local);
    else
      complaints_.push_back(
          fmt::format("external IP {} is in no CIDR this node allows; it is not served", ip));
  }

  const kube::Service& service_;
  const ServiceSurroundings& around_;
  std::vector<std::string>& complaints_;
  std::set<Ip> seen_;
  std::vector<Address> out_;
};

Claim frontend(const service_key& key, service value, const std::vector<Target>& targets) {
  value.backends[INSIDE] = value.backends[OUTSIDE] = static_cast<uint32_t>(targets.size());
  Claim out = claim_row(TABLE_services, key, value);
  for (uint32_t slot = 0; slot < targets.size(); ++slot) {
    backend_key at{};
    at.service = key;
    at.slot = slot;
    backend to{};
    to.address = to_addr(targets[slot].ip);
    to.port = htons(targets[slot].port);
    out.rows.push_back({TABLE_backends, to_bytes(at), to_bytes(to)});
  }
  return out;
}

Claim frontend(const kube::Service& of, const kube::ServicePort& port, const Address& at, uint16_t number,
               std::span<const kube::EndpointSlice* const> slices, const Config& config) {
  const auto protocol = policy::ip_protocol(port.protocol);
  service value{};
  value.affinity_s = of.affinity_timeout_s;
  value.flags = at.flag;
  const auto to = targets(port, slices, at.ip.is_v4(), at.local, config.node_name);
  Claim out = frontend(key_of(at.ip, number, protocol), value, to);
  out.rank = static_cast<uint8_t>(at.flag);
  out.what = fmt::format("{} {} port {}/{}", name_of(at.flag), at.ip, number, name_of(port.protocol));
  return out;
}

// What is sent to a service address but to none of its ports has nowhere to go. A node's own address is more
// than that.
Claim whole_address(const Address& at) {
  service value{};
  value.flags = at.flag;
  Claim out = claim_row(TABLE_services, key_of(at.ip, 0, 0), value);
  out.rank = static_cast<uint8_t>(at.flag);
  return out;
}

bool counts(const kube::Endpoint& endpoint, bool local, const std::string& node_name) {
  return !endpoint.addresses.empty() && (!local || endpoint.node_name == node_name);
}

}  // namespace

std::vector<Target> targets(const kube::ServicePort& port, std::span<const kube::EndpointSlice* const> slices,
                            bool v4, bool local, const std::string& node_name) {
  std::set<Target> ready, draining;
  for (const auto* slice : slices) {
    if (slice->v4 != v4) continue;
    for (const auto& slice_port : slice->ports) {
      if (slice_port.name != port.name || slice_port.protocol != port.protocol || slice_port.port == 0)
        continue;
      for (const auto& endpoint : slice->endpoints) {
        if (!counts(endpoint, local, node_name)) continue;
        // Further addresses of one endpoint are the same thing again (EndpointSlice: consumers take the
        // first).
        const Target target{endpoint.addresses.front(), slice_port.port};
        if (target.ip.is_v4() != v4) continue;
        if (endpoint.ready) ready.insert(target);
        if (endpoint.serving && endpoint.terminating) draining.insert(target);
      }
    }
  }
  const auto& chosen = ready.empty() ? draining : ready;
  return {chosen.begin(), chosen.end()};
}

Fragment service_fragment(const kube::Service& service, std::span<const kube::EndpointSlice* const> slices,
                          const ServiceSurroundings& around) {
  Fragment out;
  if (service.type == kube::Service::Type::ExternalName || service.headless) return out;
  const auto& own = around.node_addresses;
  for (const auto& at : Addresses(service, around, out.complaints).take()) {
    for (const auto& port : service.ports)
      out.claims.push_back(frontend(service, port, at, port.port, slices, around.config));
    if (std::ranges::find(own, at.ip) == own.end()) out.claims.push_back(whole_address(at));
  }
  if (around.config.edge || service.type == kube::Service::Type::ClusterIP) return out;
  for (const auto& port : service.ports)
    for (const auto& ip : own)
      if (port.node_port)
        out.claims.push_back(frontend(service, port, {ip, SERVICE_NODE_PORT, service.external_local},
                                      port.node_port, slices, around.config));
  return out;
}

}  // namespace thalweg::dataplane
