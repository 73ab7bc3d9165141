#include "dataplane/agent/overlay.h"

#include <algorithm>

#include "base/netns.h"
#include "dataplane/agent/pod_link.h"
#include "dataplane/intent/nodes.h"

namespace thalweg::dataplane {
namespace {

Result<> sysctl_of(const char* family, const std::string& link, const char* name, const char* value) {
  return context(set_sysctl(fmt::format("net/{}/conf/{}/{}", family, link, name), value), "{} of {}", name,
                 link);
}

Result<> create_leg(nl::Socket& socket, const std::string& node_name, uint32_t mtu) {
  return nl::create_veth(socket, {.name = kHostLink,
                                  .mac = nl::mac_from(node_name + "/" + kHostLink),
                                  .peer_name = kNetLink,
                                  .peer_mac = nl::mac_from(node_name + "/" + kNetLink),
                                  .mtu = mtu});
}

// Loose reverse-path filtering (2 outranks a strict 1 of "all"): a pod's packets for the host come in here,
// while the host's way to a pod of its own is the pod's veth. accept_local: host to its own NodePort and
// back.
Result<> set_leg_sysctls() {
  TRY(sysctl_of("ipv4", kHostLink, "rp_filter", "2"));
  TRY(sysctl_of("ipv4", kHostLink, "accept_local", "1"));
  TRY(sysctl_of("ipv4", kHostLink, "forwarding", "1"));
  for (const char* link : {kHostLink, kNetLink}) TRY(sysctl_of("ipv6", link, "accept_ra", "0"));
  return sysctl_of("ipv6", kNetLink, "disable_ipv6", "1");
}

Ip address_of(const kube::Node& node, bool v4) {
  const auto found = std::find_if(node.addresses.begin(), node.addresses.end(),
                                  [&](const Ip& ip) { return ip.is_v4() == v4; });
  return found == node.addresses.end() ? Ip() : *found;
}

bool covers_a_node(const Cidr& cidr, const kube::Store<kube::Node>& nodes) {
  return std::any_of(nodes.begin(), nodes.end(), [&](const auto& entry) {
    return std::any_of(entry.second->addresses.begin(), entry.second->addresses.end(),
                       [&](const Ip& ip) { return cidr.contains(ip); });
  });
}

}  // namespace

Result<nl::Link> find_uplink(nl::Socket& socket, const std::string& name, const std::vector<Ip>& addresses) {
  if (!name.empty()) return context(nl::link_by_name(socket, name), "uplink {}", name);
  for (const nl::Address& address : TRY(nl::addresses(socket)))
    if (std::find(addresses.begin(), addresses.end(), address.ip) != addresses.end())
      return nl::link_by_index(socket, address.link);
  return fail("no interface has an InternalIP of this node's Node object: give --uplink");
}

Result<HostLeg> ensure_host_leg(nl::Socket& socket, const std::string& node_name, uint32_t mtu) {
  if (auto there = nl::link_by_name(socket, kHostLink); !there) TRY(create_leg(socket, node_name, mtu));
  HostLeg leg {
    TRY(nl::link_by_name(socket, kHostLink))
    , TRY(nl::link_by_name(socket, kNetLink))
  };
  for (const nl::Link& end : {leg.host, leg.net}) {
    if (end.mtu != mtu) TRY(nl::set_mtu(socket, end.index, mtu));
    if (!end.up) TRY(nl::set_up(socket, end.index));
  }
  TRY(set_leg_sysctls());
  return leg;
}

Result<> set_forwarding(const std::string& uplink, bool direct) {
  const auto strict = [](const std::string& link) {
    const auto filter = get_sysctl(fmt::format("net/ipv4/conf/{}/rp_filter", link));
    return filter && *filter == "1";
  };
  if (direct && (strict(uplink) || strict("all"))) TRY(sysctl_of("ipv4", uplink, "rp_filter", "2"));
  const std::string key = fmt::format("net/ipv6/conf/{}/accept_ra", uplink);
  if (const auto accept_ra = get_sysctl(key); accept_ra && *accept_ra == "1") TRY(set_sysctl(key, "2"));
  TRY(set_sysctl("net/ipv4/ip_forward", "1"));
  // Absent where the kernel has no IPv6.
  if (get_sysctl("net/ipv6/conf/all/forwarding")) TRY(set_sysctl("net/ipv6/conf/all/forwarding", "1"));
  return {};
}

HostRoutes desired_routes(const kube::Store<kube::Node>& nodes, const Config& config) {
  HostRoutes desired;
  const auto self = nodes.find({"", config.node_name});
  const auto add = [&](const Cidr& cidr, const std::string& whose, const Ip& direct, uint16_t mtu) {
    const Ip source = self == nodes.end() ? Ip() : address_of(*self->second, cidr.is_v4());
    if (source.is_none()) return;  // the host has no address to speak from in this family
    if (covers_a_node(cidr, nodes)) {
      desired.refused.push_back(fmt::format("{} of {} covers a node's own address", cidr.str(), whose));
      return;
    }
    const bool by_leg = direct.is_none();
    desired.routes.push_back({.to = cidr,
                              .link = by_leg ? config.host_ifindex : config.uplink_ifindex,
                              .gateway = !by_leg        ? direct
                                         : cidr.is_v4() ? kPodGateway4
                                                        : kPodGateway6,
                              .source = source,
                              .onlink = true,
                              // The uplink carries more than a pod takes.
                              .mtu = mtu != 0 || by_leg ? mtu : config.mtu});
  };
  for (const Cidr& cidr : config.service_cidrs) add(cidr, "--service-cidr", {}, 0);
  for (const auto& [key, node] : nodes)
    if (key.name != config.node_name)
      for (const Cidr& cidr : node->pod_cidrs)
        add(cidr, "Node " + key.name, direct_next_hop(config, *node, cidr.is_v4()),
            mtu_to_pods(config, *node, cidr.is_v4()));
  return desired;
}

std::vector<nl::Neighbour> leg_neighbours(const HostLeg& leg) {
  std::vector<nl::Neighbour> both;
  for (const Ip& gateway : {kPodGateway4, kPodGateway6})
    both.push_back({.ip = gateway, .link = leg.host.index, .mac = leg.net.mac});
  return both;
}

Result<std::vector<Cidr>> segment_of(nl::Socket& socket, uint32_t uplink) {
  std::vector<Cidr> prefixes;
  const Cidr link_local = *Cidr::parse("fe80::/10");
  for (const nl::Address& address : TRY(nl::addresses(socket, uplink)))
    if (address.length < 128 && !link_local.contains(address.ip))
      prefixes.emplace_back(address.ip, address.length);
  std::sort(prefixes.begin(), prefixes.end());
  return prefixes;
}

Result<> remove_overlay(nl::Socket& socket) {
  TRY(nl::delete_link(socket, kHostLink));
  for (const nl::Route& route : TRY(nl::routes(socket)))
    if (route.protocol == nl::kProtocolThalweg) TRY(nl::delete_route(socket, route));
  return {};
}

}  // namespace thalweg::dataplane
