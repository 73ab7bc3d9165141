// Reading an Intent in tests: rows by address and port in text; and the service objects they come from.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <map>

#include "dataplane/intent/compile.h"
#include "tests/policy/builders.h"

namespace thalweg::test {

struct PortOf {
  std::string name;
  uint16_t number = 0;
  kube::Protocol protocol = kube::Protocol::TCP;
};

inline kube::Service service(const std::string& name, std::vector<std::string> cluster_ips,
                             std::vector<PortOf> ports) {
  kube::Service out;
  out.meta.key = key_of(name);
  for (const auto& one : cluster_ips) out.cluster_ips.push_back(ip(one));
  for (const auto& one : ports) out.ports.push_back({one.name, one.protocol, one.number, {}, 0});
  return out;
}

inline kube::EndpointSlice slice(const std::string& name, const std::string& of, std::vector<PortOf> ports,
                                 std::vector<kube::Endpoint> endpoints) {
  kube::EndpointSlice out;
  out.meta.key = key_of(name);
  out.service = of;
  for (const auto& one : ports) out.ports.push_back({one.name, one.protocol, one.number});
  out.endpoints = std::move(endpoints);
  return out;
}

inline kube::Endpoint endpoint_at(const std::string& address, const std::string& node_name = "") {
  kube::Endpoint out;
  out.addresses = {ip(address)};
  out.node_name = node_name;
  return out;
}
inline kube::Endpoint not_ready(const std::string& address) {
  auto out = endpoint_at(address);
  out.ready = out.serving = false;
  return out;
}
inline kube::Endpoint terminating(const std::string& address, bool serving) {
  auto out = endpoint_at(address);
  out.ready = false;
  out.serving = serving;
  out.terminating = true;
  return out;
}

inline service_key service_key_of(const std::string& address, uint16_t port, uint8_t protocol) {
  service_key key{};
  key.address = dataplane::to_addr(ip(address));
  key.port = htons(port);
  key.protocol = protocol;
  return key;
}

inline bool has_service(const dataplane::Intent& intent, const std::string& address, uint16_t port,
                        uint8_t protocol) {
  return intent.services.contains(service_key_of(address, port, protocol));
}
inline ::service service_at(const dataplane::Intent& intent, const std::string& address, uint16_t port,
                            uint8_t protocol) {
  return intent.services.at(service_key_of(address, port, protocol));
}

inline std::string text_of(const addr& address, uint16_t port) {
  const Ip to = dataplane::to_ip(address);
  return fmt::format(fmt::runtime(to.is_v4() ? "{}:{}" : "[{}]:{}"), to, ntohs(port));
}

// "10.1.0.2:8080", slot by slot, as an audience sees them; "missing" for a slot the service counts but
// backends lacks.
inline std::vector<std::string> backends_of(const dataplane::Intent& intent, const std::string& address,
                                            uint16_t port, uint8_t protocol = IPPROTO_TCP,
                                            audience whose = INSIDE) {
  std::vector<std::string> out;
  backend_key key{};
  key.service = service_key_of(address, port, protocol);
  const auto& service = intent.services.at(key.service);
  key.audience = service.flags & SERVICE_APART ? whose : INSIDE;
  for (; key.slot < service.backends[whose]; ++key.slot) {
    const auto row = intent.backends.find(key);
    out.push_back(row == intent.backends.end() ? "missing" : text_of(row->second.address, row->second.port));
  }
  return out;
}
inline std::vector<std::string> outside_of(const dataplane::Intent& intent, const std::string& address,
                                           uint16_t port, uint8_t protocol = IPPROTO_TCP) {
  return backends_of(intent, address, port, protocol, OUTSIDE);
}

// Sorted; of one audience.
inline std::vector<std::string> members_of(const dataplane::Intent& intent, const std::string& address,
                                           uint16_t port, uint8_t protocol, audience whose = INSIDE) {
  std::vector<std::string> out;
  const auto of = service_key_of(address, port, protocol);
  for (const auto& [key, value] : intent.members)
    if (dataplane::RowEqual()(key.service, of) && key.audience == whose)
      out.push_back(text_of(key.address, key.port));
  std::ranges::sort(out);
  return out;
}

// "192.0.2.0/24", sorted.
inline std::vector<std::string> source_ranges_of(const dataplane::Intent& intent, const std::string& address,
                                                 uint16_t port, uint8_t protocol = IPPROTO_TCP) {
  std::vector<std::string> out;
  const auto of = service_key_of(address, port, protocol);
  for (const auto& [key, value] : intent.source_ranges)
    if (dataplane::RowEqual()(key.address, of.address) && key.port == of.port && key.protocol == protocol)
      out.push_back(
          Cidr(dataplane::to_ip(key.client), static_cast<uint8_t>(key.prefixlen - SOURCE_RANGE_BITS)).str());
  std::ranges::sort(out);
  return out;
}

// The backends of outside clients by the maglev rows: how many positions each slot has; empty: there are
// none.
inline std::map<uint16_t, uint32_t> maglev_of(const dataplane::Intent& intent, const std::string& address,
                                              uint16_t port, uint8_t protocol = IPPROTO_TCP) {
  std::map<uint16_t, uint32_t> out;
  maglev_key key{};
  key.service = service_key_of(address, port, protocol);
  const uint32_t size = intent.services.at(key.service).maglev;
  for (uint32_t at = 0; at < size; ++at) {
    key.row = at / MAGLEV_ROW;
    ++out[intent.maglev.at(key).slots[at % MAGLEV_ROW]];
  }
  return out;
}

}  // namespace thalweg::test
