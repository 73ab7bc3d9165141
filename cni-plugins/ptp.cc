// ptp: a veth between the container and the host, and nothing else: the host's end has the gateway's address,
// and all of the container's packets, those to its own subnet too, go by it.
#include <algorithm>

#include "cni-plugins/delegate.h"
#include "cni-plugins/host_rules.h"
#include "cni-plugins/plugins.h"
#include "cni-plugins/pod_interface.h"
#include "cni-plugins/pod_link.h"

namespace thalweg::cni {

namespace {

constexpr uint8_t kBoot = 3;          // RTPROT_BOOT, as ip-route(8) and the reference set them
constexpr uint32_t kHostScope = 254;  // RT_SCOPE_HOST

// Up before the container's end is, so that this one has a carrier at once.
Outcome<> make_pair(Places& at, const Request& request, uint32_t mtu) {
  const std::string name = TRY(create_pair(at.host, at.netns, request, mtu));
  Undo undo([&] { (void)nl::delete_link(at.host, name); });
  (void)set_sysctl("net/ipv6/conf/" + name + "/accept_ra", "0");
  // Until its link-local address is sure, a second or two, it asks for no neighbour on behalf of others.
  (void)set_sysctl("net/ipv6/conf/" + name + "/accept_dad", "0");
  TRY(nl::set_up(at.host, TRY(nl::link_by_name(at.host, name)).index));
  undo.keep();
  return {};
}

Cidr host_of(const Ip& ip) { return Cidr::host(ip); }

nl::Route way_to(const AddressConfig& address, uint32_t link) {
  nl::Route route{.to = host_of(address.ip), .link = link, .protocol = kBoot};
  if (address.ip.is_v4()) route.scope = kHostScope;
  return route;
}

// Each container's gateway is this host: all of the pairs' ends may have one address.
Outcome<> be_gateway(nl::Socket& host, uint32_t link, const AddressConfig& address) {
  TRY(nl::set_address(host, {.ip = address.gateway, .length = 128, .link = link}));
  TRY(nl::set_route(host, way_to(address, link)));
  TRY(enable_forwarding(address.ip.is_v4()));
  return {};
}

// Instead of the route that the kernel made with the address: the others of the subnet are not on this link.
Outcome<> go_by_gateway(nl::Socket& pod, uint32_t link, const AddressConfig& address) {
  const Cidr subnet = subnet_of(address);
  TRY(nl::delete_route(pod, {.to = subnet, .link = link}));
  TRY(nl::set_route(pod,
                    {.to = host_of(address.gateway), .link = link, .source = address.ip, .protocol = kBoot}));
  if (subnet.length() == 128) return {};
  TRY(nl::set_route(
      pod,
      {.to = subnet, .link = link, .gateway = address.gateway, .source = address.ip, .protocol = kBoot}));
  return {};
}

Outcome<> join(Places& at, const Request& request, CniResult& result) {
  const nl::Link pod = TRY(nl::link_by_name(at.pod, request.ifname));
  const nl::Link host = TRY(nl::link_by_index(at.host, pod.peer));
  for (AddressConfig& address : result.ips) {
    if (address.gateway.is_none())
      return refuse(kPluginFailure, fmt::format("the address {} comes without a gateway", address.ip));
    TRY(be_gateway(at.host, host.index, address));
    TRY(go_by_gateway(at.pod, pod.index, address));
    address.interface = 1;
  }
  result.interfaces.insert(result.interfaces.begin(), interface_of(host));
  return {};
}

Outcome<> check_host(Places& at, const Request& request, const nl::Link& pod) {
  const auto host = nl::link_by_index(at.host, pod.peer);
  if (!host || host->kind != "veth")
    return refuse(kPluginFailure, fmt::format("the other end of {} is not here", pod.name));
  if (!host->up) return refuse(kPluginFailure, fmt::format("{} is down", host->name));
  const auto addresses = TRY(nl::addresses(at.host, host->index));
  const auto routes = TRY(nl::routes(at.host));
  for (const AddressConfig& each : request.previous->ips) {
    if (!each.interface || *each.interface != 1) continue;  // another plugin's
    if (std::none_of(addresses.begin(), addresses.end(),
                     [&](const auto& have) { return have.ip == each.gateway; }))
      return refuse(kPluginFailure, fmt::format("{} lacks the address {}", host->name, each.gateway));
    if (std::none_of(routes.begin(), routes.end(), [&](const nl::Route& have) {
          return have.to == host_of(each.ip) && have.link == host->index;
        }))
      return refuse(kPluginFailure, fmt::format("the host's route to {} is missing", each.ip));
  }
  return {};
}

Outcome<PodLink> read(const Request& request) {
  Fields fields(request.config);
  const auto mtu = static_cast<uint32_t>(fields.number("mtu", 0, 65'535).value_or(0));
  const std::string masquerade_backend = fields.text("ipMasqBackend");
  PodLink link = read_pod_link(fields, "veth", true);
  link.masquerade = fields.flag("ipMasq");
  TRY(fields.done());
  TRY(check_backend("ipMasqBackend", masquerade_backend, request.verb == Verb::Add));
  link.make = [&request, mtu](Places& at) { return make_pair(at, request, mtu); };
  link.finish = [&request](Places& at, CniResult& result) { return join(at, request, result); };
  link.check = [&request](Places& at, const nl::Link& pod) { return check_host(at, request, pod); };
  return link;
}

}  // namespace

Plugin ptp_plugin() { return pod_link_plugin("ptp", read); }

}  // namespace thalweg::cni
