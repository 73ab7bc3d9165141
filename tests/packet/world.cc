#include "tests/packet/world.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

#include "base/ip.h"

namespace thalweg::packet {

namespace {

prefix abi_prefix(const std::string& text) {
  const Cidr cidr =
      Cidr::parse(text.find('/') == text.npos ? text + (text.find(':') == text.npos ? "/32" : "/128") : text)
          .value();
  prefix out{};
  out.prefixlen = cidr.length();
  std::memcpy(out.bytes, cidr.ip().bytes().data(), 16);
  return out;
}

template <class K, class V>
PutRow row(table_id table, const K& key, const V& value) {
  return {table, raw(key), raw(value)};
}

constexpr uint32_t kZero = 0;

}  // namespace

addr abi_address(const std::string& text) {
  addr out{};
  if (!text.empty()) std::memcpy(out.bytes, Ip::parse(text).value().bytes().data(), 16);
  return out;
}

PutRow route(const std::string& cidr, route_kind kind, const std::string& peer, uint32_t flags) {
  return row(TABLE_routes, abi_prefix(cidr), ::route{abi_address(peer), kind, flags});
}

Rows node() {
  ::node self{};
  self.v4 = abi_address("192.0.2.1");
  self.v6 = abi_address("2001:db8::1");
  self.uplink_ifindex = kUplinkIfindex;
  self.host_ifindex = kHostIfindex;
  self.tunnel_port = htons(4789);
  self.mtu = 1450;
  self.masquerade_first = self.masquerade_last = kMasqueradePort;
  self.vni = 1;
  self.flags = NODE_MASQUERADE;
  std::memcpy(self.host_mac, kHostMac.data(), 6);
  return {
      row(TABLE_node, kZero, self),
      generation(1),
      route("192.0.2.1", ROUTE_HOST),
      route("2001:db8::1", ROUTE_HOST),
      route("198.51.100.0/26", ROUTE_POD_CIDR),
      route("2001:db8:1::/64", ROUTE_POD_CIDR),
      route("192.0.2.2", ROUTE_TUNNEL, "192.0.2.2", ROUTE_NODE_ADDRESS),
      route("198.51.100.64/26", ROUTE_TUNNEL, "192.0.2.2"),
      route("2001:db8:2::/64", ROUTE_TUNNEL, "192.0.2.2"),
      route("203.0.113.128/25", ROUTE_SERVICE_CIDR),
  };
}

PutRow endpoint(const std::string& address, uint32_t ifindex, uint32_t rule_set) {
  ::endpoint pod{};
  pod.ifindex = ifindex;
  pod.rule_set = rule_set;
  std::memcpy(pod.mac, kPodMac.data(), 6);
  std::memcpy(pod.host_mac, kVethMac.data(), 6);
  return row(TABLE_endpoints, abi_address(address), pod);
}

PutRow identity(const std::string& address, uint32_t identity) {
  return row(TABLE_identities, abi_address(address), identity);
}

PutRow ip_block(const std::string& cidr, uint32_t identity) {
  return row(TABLE_prefixes, abi_prefix(cidr), identity);
}

PutRow rule_set(uint32_t id, uint32_t flags, uint64_t epoch) {
  return row(TABLE_rule_sets, id, ::rule_set{epoch, flags, 0});
}

PutRow allow(uint32_t rule_set, direction direction, uint32_t identity, uint8_t protocol, uint16_t port,
             uint32_t id) {
  rule_key key{};
  key.prefixlen = port ? RULE_BITS_ONE_PORT : protocol ? RULE_BITS_ANY_PORT : RULE_BITS_ANY_PROTOCOL;
  key.rule_set = rule_set;
  key.identity = identity;
  key.direction = direction;
  key.protocol = protocol;
  key.port = htons(port);
  return row(TABLE_rules, key, ::rule{id, RULE_ALLOW});
}

Rows service(const std::string& address, uint16_t port, uint8_t protocol, const std::string& backend,
             uint16_t backend_port, uint32_t flags) {
  service_key key{};
  key.address = abi_address(address);
  const service_key any_port = key;
  key.port = htons(port);
  key.protocol = protocol;
  Rows rows = {row(TABLE_services, key,
                   ::service{{backend.empty() ? 0u : 1u, backend.empty() ? 0u : 1u}, 0, flags, 0, 0})};
  if (flags & SERVICE_CLUSTER_IP)
    rows.push_back(row(TABLE_services, any_port, ::service{{0, 0}, 0, flags, 0, 0}));
  if (backend.empty()) return rows;
  ::backend to{};
  to.address = abi_address(backend);
  to.port = htons(backend_port);
  rows.push_back(row(TABLE_backends, backend_key{key, 0, INSIDE}, to));
  return rows;
}

PutRow generation(uint64_t number) { return row(TABLE_generation, kZero, number); }

Rows operator+(Rows rows, const PutRow& row) {
  rows.push_back(row);
  return rows;
}

Rows operator+(Rows rows, const Rows& more) {
  rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

}  // namespace thalweg::packet
