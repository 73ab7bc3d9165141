#include "cni-plugins/pod_interface.h"

#include <unistd.h>

#include <algorithm>

namespace thalweg::cni {

namespace {

constexpr int kAttempts = 10;    // names for the host's end
constexpr int kDadTries = 2000;  // of 5 ms, as the reference: 10 s

bool has_v6(const CniResult& result) {
  return std::any_of(result.ips.begin(), result.ips.end(), [](const auto& each) { return !each.ip.is_v4(); });
}

// Runtimes turn IPv6 off in new namespaces. Where the kernel has none, the address below says so.
void allow_v6(const std::string& ifname, bool dad) {
  for (const std::string& link : {std::string("lo"), ifname})
    (void)set_sysctl("net/ipv6/conf/" + link + "/disable_ipv6", "0");
  (void)set_sysctl("net/ipv6/conf/" + ifname + "/accept_dad", dad ? "1" : "0");
  if (dad) (void)set_sysctl("net/ipv6/conf/" + ifname + "/enhanced_dad", "1");
}

nl::Address address_of(const AddressConfig& address, uint32_t link, bool dad) {
  return {.ip = address.ip, .length = subnet_of(address).length(), .link = link, .no_dad = !dad};
}

Ip default_gateway(const CniResult& result, bool v4) {
  for (const AddressConfig& address : result.ips)
    if (address.ip.is_v4() == v4 && !address.gateway.is_none()) return address.gateway;
  return Ip();
}

nl::Route route_of(const Route& route, uint32_t link, const CniResult& result) {
  return {.to = route.to,
          .link = link,
          .gateway = route.gateway.is_none() ? default_gateway(result, route.to.is_v4()) : route.gateway,
          .table = route.table.value_or(254),
          .metric = route.priority,
          .protocol = 3,  // RTPROT_BOOT, as ip-route(8) and the reference set them
          .mtu = route.mtu,
          .adv_mss = route.adv_mss,
          .scope = route.scope};
}

// Of this interface: those that name none are.
bool is_of(const AddressConfig& address, const CniResult& result, const std::string& ifname) {
  return !address.interface || *address.interface >= result.interfaces.size() ||
         result.interfaces[*address.interface].name == ifname;
}

// A tentative address is no destination yet.
Result<> await_dad(nl::Socket& pod, const CniResult& result) {
  for (const AddressConfig& address : result.ips)
    for (int i = 0; !address.ip.is_v4() && !TRY(nl::is_local(pod, address.ip)); ++i) {
      if (i == kDadTries) return fail("{}: its duplicate address detection does not end", address.ip);
      ::usleep(5000);
    }
  return {};
}

}  // namespace

Outcome<Netns> open_netns(const Request& request) {
  auto netns = Netns::open(request.netns);
  if (!netns)
    return refuse(netns.error().code == ENOENT ? kUnknownContainer : kInvalidEnvironment,
                  "CNI_NETNS: " + netns.error().message);
  return std::move(*netns);
}

Outcome<std::optional<Netns>> find_netns(const Request& request) {
  if (request.netns.empty()) return std::nullopt;
  auto netns = Netns::open(request.netns);
  if (!netns) return std::nullopt;  // gone, or its file is no namespace any more: there is nothing in it
  return std::move(*netns);
}

Outcome<> check_free(nl::Socket& pod, const std::string& ifname) {
  const auto link = nl::link_by_name(pod, ifname);
  if (link)
    return refuse(kPluginFailure, fmt::format("CNI_IFNAME: {} exists in the container already", ifname));
  if (link.error().code != ENODEV) return refuse(kPluginFailure, link.error().message);
  return {};
}

Outcome<std::string> create_pair(nl::Socket& host, const Netns& netns, const Request& request, uint32_t mtu,
                                 const std::optional<nl::Mac>& mac) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::string name = host_name("veth", request, attempt);
    const auto made = nl::create_veth(
        host, {.name = name, .peer_name = request.ifname, .peer_mac = mac, .peer_netns = &netns, .mtu = mtu});
    if (made) return name;
    if (made.error().code != EEXIST || !nl::link_by_name(host, name))
      return refuse(kPluginFailure, made.error().message);
  }
  return refuse(kPluginFailure, "no name is free for the host's end");
}

Interface interface_of(const nl::Link& link, const std::string& sandbox) {
  return {.name = link.name, .mac = nl::mac_str(link.mac), .mtu = link.mtu, .sandbox = sandbox};
}

Result<> enable_forwarding(bool v4) {
  const char* key = v4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
  if (TRY(get_sysctl(key)) == "1") return {};
  return set_sysctl(key, "1");
}

Result<> configure(const Netns& netns, nl::Socket& pod, const std::string& ifname, const CniResult& result,
                   bool dad) {
  const nl::Link link = TRY(nl::link_by_name(pod, ifname));
  if (has_v6(result)) TRY(netns.run([&]() -> Result<> { return allow_v6(ifname, dad), Result<>(); }));
  TRY(nl::set_up(pod, link.index));
  for (const AddressConfig& address : result.ips)
    if (is_of(address, result, ifname)) TRY(nl::set_address(pod, address_of(address, link.index, dad)));
  if (dad) TRY(await_dad(pod, result));
  for (const Route& route : result.routes) TRY(nl::set_route(pod, route_of(route, link.index, result)));
  return {};
}

Outcome<> check_configured(nl::Socket& pod, const nl::Link& link, const CniResult& result) {
  if (!link.up) return refuse(kPluginFailure, fmt::format("{} is down", link.name));
  const auto addresses = TRY(nl::addresses(pod, link.index));
  for (const AddressConfig& want : result.ips)
    if (is_of(want, result, link.name) &&
        std::none_of(addresses.begin(), addresses.end(), [&](const nl::Address& have) {
          return have.ip == want.ip && have.length == subnet_of(want).length();
        }))
      return refuse(kPluginFailure, fmt::format("{} lacks the address {}", link.name, want.ip));
  const auto routes = TRY(nl::routes(pod, 0));
  for (const Route& route : result.routes) {
    const nl::Route want = route_of(route, link.index, result);
    if (std::none_of(routes.begin(), routes.end(), [&](const nl::Route& have) {
          return have.to == want.to && have.gateway == want.gateway && have.table == want.table;
        }))
      return refuse(kPluginFailure, fmt::format("the route to {} is missing", route.to));
  }
  return {};
}

Result<std::vector<nl::Address>> remove(nl::Socket& pod, const std::string& ifname) {
  const auto link = nl::link_by_name(pod, ifname);
  if (!link && link.error().code == ENODEV) return std::vector<nl::Address>();
  auto addresses = TRY(nl::addresses(pod, TRY(link).index));
  TRY(nl::delete_link(pod, link->index));
  return addresses;
}

const Interface* find_interface(const CniResult& result, const std::string& name,
                                const std::string& sandbox) {
  const auto it = std::find_if(
      result.interfaces.begin(), result.interfaces.end(),
      [&](const auto& interface) { return interface.name == name && interface.sandbox == sandbox; });
  return it == result.interfaces.end() ? nullptr : &*it;
}

std::string host_name(std::string_view prefix, const Request& request, int attempt) {
  const nl::Mac hash = nl::mac_from(
      fmt::format("{} {} {} {}", request.network, request.container_id, request.ifname, attempt));
  return fmt::format("{}{:02x}{:02x}{:02x}{:02x}", prefix, hash[1], hash[2], hash[3], hash[4]);
}

}  // namespace thalweg::cni
