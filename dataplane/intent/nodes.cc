#include "dataplane/intent/nodes.h"

#include <arpa/inet.h>

#include <algorithm>

namespace thalweg::dataplane {

namespace {

// An own route beats another's claim to the same prefix.
enum Rank : uint8_t { kOwn = 0, kPeer = 1 };

Ip first_of_family(const std::vector<Ip>& addresses, bool v4) {
  const auto found = std::ranges::find_if(addresses, [&](const Ip& ip) { return ip.is_v4() == v4; });
  return found == addresses.end() ? Ip() : *found;
}

Claim route_claim(const Cidr& to, route_kind kind, Rank rank, const Ip& peer = {}, uint16_t flags = 0,
                  uint16_t mtu = 0) {
  route value{};
  value.peer = to_addr(peer);
  value.kind = kind;
  value.flags = flags;
  value.mtu = mtu;
  return claim_row(TABLE_routes, to_prefix(to), value, fmt::format("the route to {}", to), rank);
}

Claim node_row(const Config& config, const std::vector<Ip>& addresses) {
  node value{};
  value.v4 = to_addr(first_of_family(addresses, true));
  value.v6 = to_addr(first_of_family(addresses, false));
  value.uplink_ifindex = config.uplink_ifindex;
  value.host_ifindex = config.host_ifindex;
  value.tunnel_port = htons(config.tunnel_port);
  value.mtu = config.mtu;
  value.masquerade_first = config.masquerade_first;
  value.masquerade_last = config.masquerade_last;
  value.vni = config.vni;
  value.flags = config.masquerade ? NODE_MASQUERADE : 0;
  std::ranges::copy(config.host_mac, value.host_mac);
  value.netns_cookie = config.netns_cookie;
  return claim_row(TABLE_node, __u32{0}, value);
}

bool is_neighbour(const Config& config, const Ip& ip) {
  return config.overlay != Overlay::Vxlan &&
         std::ranges::any_of(config.segment, [&](const Cidr& prefix) { return prefix.contains(ip); });
}

// Where the tunnel to the node ends: both ends see the same addresses, and come to the same family. None:
// there is no tunnel.
Ip tunnel_end(const Config& config, const kube::Node& node) {
  if (config.overlay == Overlay::Direct) return {};
  const Ip v4 = config.underlay_v4 ? first_of_family(node.addresses, true) : Ip();
  return v4.is_none() && config.underlay_v6 ? first_of_family(node.addresses, false) : v4;
}

// ROUTE_NEIGHBOUR, where no router stands before the tunnel's end.
uint16_t neighbour_flag(const Config& config, const Ip& tunnel_end) {
  const auto path = config.peer_paths.find(tunnel_end);
  return path != config.peer_paths.end() && path->second.neighbour ? ROUTE_NEIGHBOUR : 0;
}

uint16_t mtu_to_peer(const Config& config, const Ip& peer, bool tunnel) {
  const auto path = config.peer_paths.find(peer);
  const bool less = path != config.peer_paths.end() && path->second.mtu != 0;
  const uint32_t outer = less ? path->second.mtu : config.uplink_mtu;
  const uint32_t header = !tunnel ? 0 : peer.is_v4() ? kTunnelBytes : kTunnel6Bytes;
  const uint16_t inner = inner_mtu(outer, header);
  return !peer.is_none() && inner < config.mtu ? inner : 0;
}

}  // namespace

uint16_t inner_mtu(uint32_t underlay_mtu, uint32_t tunnel_bytes) {
  return static_cast<uint16_t>(
      std::clamp<uint32_t>(underlay_mtu - std::min(underlay_mtu, tunnel_bytes), 576, 65'535));
}

std::vector<Ip> own_addresses(const Config& config, const kube::Node* own) {
  std::vector<Ip> out;
  for (const auto& ip : {config.v4, config.v6})
    if (!ip.is_none()) out.push_back(ip);
  if (!own) return out;
  for (const auto& ip : own->addresses)
    if (std::ranges::find(out, ip) == out.end()) out.push_back(ip);
  return out;
}

std::vector<Ip> primary_addresses(const std::vector<Ip>& addresses) {
  std::vector<Ip> out;
  for (const bool v4 : {true, false})
    if (const Ip ip = first_of_family(addresses, v4); !ip.is_none()) out.push_back(ip);
  return out;
}

Fragment node_fragment(const Config& config, const kube::Node* own) {
  Fragment out;
  const auto addresses = own_addresses(config, own);
  out.claims.push_back(node_row(config, addresses));
  for (const auto& ip : addresses) out.claims.push_back(route_claim(Cidr::host(ip), ROUTE_HOST, kOwn));
  for (const auto& cidr : config.service_cidrs)
    out.claims.push_back(route_claim(cidr, ROUTE_SERVICE_CIDR, kOwn));
  if (own)
    for (const auto& cidr : own->pod_cidrs) out.claims.push_back(route_claim(cidr, ROUTE_POD_CIDR, kOwn));
  return out;
}

Ip direct_next_hop(const Config& config, const kube::Node& node, bool v4) {
  const auto found = std::ranges::find_if(
      node.addresses, [&](const Ip& ip) { return ip.is_v4() == v4 && is_neighbour(config, ip); });
  return found == node.addresses.end() ? Ip() : *found;
}

uint16_t mtu_to_pods(const Config& config, const kube::Node& node, bool v4) {
  const Ip direct = direct_next_hop(config, node, v4);
  return direct.is_none() ? mtu_to_peer(config, tunnel_end(config, node), true)
                          : mtu_to_peer(config, direct, false);
}

Fragment peer_fragment(const Config& config, const kube::Node& node) {
  Fragment out;
  const Ip tunnel = tunnel_end(config, node);
  bool reached = !node.addresses.empty();
  const auto claim = [&](const Cidr& to, const Ip& direct, uint16_t flags) {
    if (!direct.is_none())
      out.claims.push_back(
          route_claim(to, ROUTE_DIRECT, kPeer, direct, flags, mtu_to_peer(config, direct, false)));
    else if (!tunnel.is_none())
      out.claims.push_back(route_claim(to, ROUTE_TUNNEL, kPeer, tunnel,
                                       flags | neighbour_flag(config, tunnel),
                                       mtu_to_peer(config, tunnel, true)));
    else
      reached = false;
  };
  for (const auto& cidr : node.pod_cidrs) claim(cidr, direct_next_hop(config, node, cidr.is_v4()), 0);
  for (const auto& ip : node.addresses)
    claim(Cidr::host(ip), is_neighbour(config, ip) ? ip : Ip(), ROUTE_NODE_ADDRESS);
  if (!reached)
    out.complaints.push_back(config.overlay == Overlay::Direct
                                 ? "not on the uplink's segment; --overlay direct knows no other way to it"
                                 : "no InternalIP of a family this node has one of: the tunnel cannot "
                                   "reach it");
  return out;
}

Fragment endpoint_fragment(const LocalPod& link, uint32_t rule_set) {
  Fragment out;
  endpoint value{};
  value.ifindex = link.ifindex;
  value.rule_set = rule_set;
  std::ranges::copy(link.mac, value.mac);
  std::ranges::copy(link.host_mac, value.host_mac);
  for (const auto& ip : link.ips)
    out.claims.push_back(claim_row(TABLE_endpoints, to_addr(ip), value, fmt::format("the address {}", ip)));
  return out;
}

}  // namespace thalweg::dataplane
