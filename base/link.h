// Links, addresses, routes, neighbours, FDB entries and rules of the namespace a Socket is in: free functions
// over rtnetlink(7). `set_` is idempotent (create or replace); deleting what is absent is no error.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/netlink.h"
#include "base/result.h"

namespace thalweg::nl {

using Mac = std::array<uint8_t, 6>;
std::string mac_str(const Mac& mac);
Result<Mac> parse_mac(std::string_view text);
// Locally administered unicast, from the seed: the same seed gives the same address.
Mac mac_from(std::string_view seed);

// 1–15 bytes, not "." or "..", no '/', ':' or white space (dev_valid_name in the kernel).
bool is_link_name(std::string_view name);

struct Link {
  uint32_t index = 0;
  std::string name;
  std::string kind;  // "veth", "vxlan", "bridge"; "" for a real device
  Mac mac{};
  uint32_t mtu = 0;
  bool up = false;
  bool operational = false;           // operstate UP: the kernel has seen the carrier and passes packets
  uint32_t master = 0;                // ifindex of the bridge it is a port of
  uint32_t peer = 0;                  // IFLA_LINK: ifindex of a veth's peer, in its own namespace
  std::optional<int32_t> peer_netns;  // IFLA_LINK_NETNSID, when the peer is in another namespace
};

// ---- links
struct Veth {
  std::string name;
  std::optional<Mac> mac = {};
  std::string peer_name;
  std::optional<Mac> peer_mac = {};
  const Netns* peer_netns = nullptr;  // null: the same
  uint32_t mtu = 0;                   // both ends; 0: the kernel's default
};
Result<> create_veth(Socket& socket, const Veth& veth);
struct Vxlan {
  std::string name;
  uint32_t vni = 0;
  Ip local;
  Ip remote;  // none: from the FDB
  uint16_t port = 4789;
  uint32_t underlay = 0;  // ifindex
  bool learning = false;
};
Result<> create_vxlan(Socket& socket, const Vxlan& vxlan);
Result<std::vector<Link>> links(Socket& socket);
// ENODEV in code when absent.
Result<Link> link_by_name(Socket& socket, const std::string& name);
Result<Link> link_by_index(Socket& socket, uint32_t index);
Result<> set_up(Socket& socket, uint32_t index, bool up = true);
Result<> set_mtu(Socket& socket, uint32_t index, uint32_t mtu);
Result<> set_mac(Socket& socket, uint32_t index, const Mac& mac);
Result<> set_master(Socket& socket, uint32_t index, uint32_t master);  // 0: none
Result<> rename(Socket& socket, uint32_t index, const std::string& name);
Result<> move_to_netns(Socket& socket, uint32_t index, const Netns& netns);
Result<> delete_link(Socket& socket, uint32_t index);
Result<> delete_link(Socket& socket, const std::string& name);

// ---- addresses
struct Address {
  Ip ip;
  uint8_t length = 128;  // of 128, as in Cidr: an IPv4 /32 is 128
  uint32_t link = 0;
  bool no_dad = true;  // IPv6: usable at once
  bool operator==(const Address&) const = default;
};
Result<> set_address(Socket& socket, const Address& address);
Result<> delete_address(Socket& socket, const Address& address);
Result<std::vector<Address>> addresses(Socket& socket, uint32_t link = 0);  // 0: of all links

// ---- routes
struct Route {
  Cidr to;
  uint32_t link = 0;  // ifindex
  Ip gateway;         // none: directly on the link
  Ip source;          // preferred source address; none: the kernel's choice
  uint32_t table = 254 /* RT_TABLE_MAIN */;
  uint32_t metric = 0;     // IPv6 reads 0 as 1024
  uint8_t protocol = 0;    // 0: kProtocolThalweg
  bool onlink = false;     // the gateway need not be in a connected network
  bool blackhole = false;  // instead of link and gateway
  uint32_t mtu = 0;
  uint32_t adv_mss = 0;                // told to TCP peers, bytes; 0: the kernel's choice
  std::optional<uint32_t> scope = {};  // none: link without a gateway, global with one
  bool operator==(const Route&) const = default;
};
inline constexpr uint8_t kProtocolThalweg = 116;  // marks our routes for `ip route` and for routes()
Result<> set_route(Socket& socket, const Route& route);
Result<> delete_route(Socket& socket, const Route& route);  // by to, table, metric (and link when given)
// Both families; of this table, or of all for 0.
Result<std::vector<Route>> routes(Socket& socket, uint32_t table = 254);
// Packets to ip would be delivered here. An IPv6 address just set becomes so a moment later, by a work queue,
// also without duplicate address detection.
Result<bool> is_local(Socket& socket, const Ip& ip);
// The kernel's way to ip: link, gateway and mtu (0: the route says nothing of it). No route: no link either.
Result<Route> route_to(Socket& socket, const Ip& ip);

// ---- neighbours
struct Neighbour {
  Ip ip;
  uint32_t link = 0;
  Mac mac{};
  bool permanent = true;
  bool operator==(const Neighbour&) const = default;
};
Result<> set_neighbour(Socket& socket, const Neighbour& neighbour);
Result<> delete_neighbour(Socket& socket, const Neighbour& neighbour);  // by ip and link
Result<std::vector<Neighbour>> neighbours(Socket& socket, uint32_t link = 0);

// ---- forwarding entries of a VXLAN device
struct FdbEntry {
  Mac mac{};
  uint32_t link = 0;
  Ip remote;  // none: of a bridge port, no tunnel
  bool operator==(const FdbEntry&) const = default;
};
Result<> set_fdb(Socket& socket, const FdbEntry& entry);
// An all-zero MAC may have many remotes; append adds one.
Result<> append_fdb(Socket& socket, const FdbEntry& entry);
Result<> delete_fdb(Socket& socket, const FdbEntry& entry);
Result<std::vector<FdbEntry>> fdb(Socket& socket, uint32_t link);

// ---- policy routing
struct Rule {
  bool v6 = false;
  uint32_t priority = 0;
  uint32_t mark = 0;
  uint32_t mask = 0;
  uint32_t table = 0;
  bool operator==(const Rule&) const = default;
};
Result<> set_rule(Socket& socket, const Rule& rule);
Result<> delete_rule(Socket& socket, const Rule& rule);
Result<std::vector<Rule>> rules(Socket& socket);  // both families

}  // namespace thalweg::nl
