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

PutRow route(const std::string& cidr, route_kind kind, const std::string& peer, uint16_t flags,
             uint16_t mtu) {
  return row(TABLE_routes, abi_prefix(cidr), ::route{abi_address(peer), kind, flags, mtu});
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

namespace {

service_key key_of(const FullService& of) {
  service_key key{};
  key.address = abi_address(of.address);
  key.port = htons(of.port);
  key.protocol = of.protocol;
  return key;
}

::backend at_8080(const std::string& address) {
  ::backend to{};
  to.address = abi_address(address);
  to.port = htons(8080);
  return to;
}

member_key member_of(const FullService& of, const std::string& backend, audience whose) {
  member_key key{};
  key.service = key_of(of);
  key.address = abi_address(backend);
  key.port = htons(8080);
  key.audience = static_cast<__u8>(whose);
  return key;
}

Rows slots(const service_key& key, audience whose, const std::vector<std::string>& backends) {
  Rows rows;
  for (uint32_t slot = 0; slot < backends.size(); ++slot)
    rows.push_back(
        row(TABLE_backends, backend_key{key, slot, static_cast<uint32_t>(whose)}, at_8080(backends[slot])));
  return rows;
}

Rows ranges(const FullService& of) {
  Rows rows;
  for (const std::string& range : of.source_ranges) {
    const prefix client = abi_prefix(range);
    source_range_key key{};
    key.prefixlen = SOURCE_RANGE_BITS + client.prefixlen;
    key.port = htons(of.port);
    key.protocol = of.protocol;
    key.address = abi_address(of.address);
    std::memcpy(key.client.bytes, client.bytes, sizeof client.bytes);
    rows.push_back(row(TABLE_source_ranges, key, uint32_t{1}));
  }
  return rows;
}

Rows positions(const FullService& of) {
  Rows rows;
  for (size_t first = 0; first < of.maglev.size(); first += MAGLEV_ROW) {
    maglev_row slots{};
    for (size_t i = 0; i < MAGLEV_ROW && first + i < of.maglev.size(); ++i)
      slots.slots[i] = of.maglev[first + i];
    rows.push_back(
        row(TABLE_maglev, maglev_key{key_of(of), static_cast<uint32_t>(first / MAGLEV_ROW), 0}, slots));
  }
  return rows;
}

}  // namespace

Rows FullService::rows() const {
  const service_key key = key_of(*this);
  ::service value{};
  value.affinity_s = affinity_s;
  value.flags = flags | (source_ranges.empty() ? 0u : SERVICE_SOURCE_RANGES);
  value.backends[INSIDE] = static_cast<uint32_t>(inside.size());
  value.backends[OUTSIDE] = static_cast<uint32_t>(flags & SERVICE_APART ? outside.size() : inside.size());
  value.maglev = static_cast<uint32_t>(maglev.size());
  return Rows{row(TABLE_services, key, value)} + slots(key, INSIDE, inside) + slots(key, OUTSIDE, outside) +
         ranges(*this) + positions(*this);
}

PutRow any_port(const FullService& of) {
  service_key key{};
  key.address = abi_address(of.address);
  return row(TABLE_services, key, ::service{{0, 0}, 0, of.flags, 0, 0});
}
PutRow member(const FullService& of, const std::string& backend, audience whose) {
  return row(TABLE_members, member_of(of, backend, whose), uint32_t{1});
}
PutRow no_member(const FullService& of, const std::string& backend, audience whose) {
  return {TABLE_members, raw(member_of(of, backend, whose)), ""};
}
PutRow moved(const std::string& backend, uint32_t number) {
  const addr address = abi_address(backend);
  return row(TABLE_moved, moved_row(&address, htons(8080)), number);
}

PutRow host_never_served() { return row(TABLE_host_serves, kZero, uint32_t{0}); }
PutRow passes_by(uint32_t noted) { return row(TABLE_passes_by, kZero, noted); }
PutRow secret_of_likeness() {
  flow_secret secret{};
  secret.words[0] = 1;  // there is one
  secret.words[9] = 0 - static_cast<__u64>(kTcp);
  return row(TABLE_flow_secret, uint32_t{0}, secret);
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
