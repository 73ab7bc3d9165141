#include "dataplane/agent/pod_link.h"

#include <unistd.h>

#include <algorithm>

#include "base/netns.h"

namespace thalweg::dataplane {

const Ip kPodGateway4 = Ip::v4(169, 254, 1, 1);
const Ip kPodGateway6 = Ip::parse("fe80::1").value();

namespace {

bool has_family(const PodLinkSpec& spec, bool v4) {
  return std::any_of(spec.ips.begin(), spec.ips.end(), [&](const Ip& ip) { return ip.is_v4() == v4; });
}

nl::Mac host_mac_of(const PodLinkSpec& spec) { return nl::mac_from(spec.host_name + " host"); }
nl::Mac pod_mac_of(const PodLinkSpec& spec) { return nl::mac_from(spec.host_name + " pod"); }

Result<> check_spec(const PodLinkSpec& spec) {
  if (!nl::is_link_name(spec.ifname)) return fail("interface name \"{}\"", spec.ifname);
  if (!nl::is_link_name(spec.host_name)) return fail("interface name \"{}\"", spec.host_name);
  if (spec.ips.empty()) return fail("a pod link without addresses");
  return {};
}

// ---- what each side must hold: one list for making and for checking

struct Side {
  std::vector<nl::Address> addresses;
  std::vector<nl::Neighbour> neighbours;
  std::vector<nl::Route> routes;
};

// The gateways are no real addresses of anybody: a permanent neighbour says they are the host's end.
Side pod_side(const PodLinkSpec& spec, uint32_t link) {
  Side side;
  for (const Ip& ip : spec.ips) side.addresses.push_back({.ip = ip, .link = link});
  for (const bool v4 : {true, false}) {
    if (!has_family(spec, v4)) continue;
    const Ip gateway = v4 ? kPodGateway4 : kPodGateway6;
    side.neighbours.push_back({.ip = gateway, .link = link, .mac = host_mac_of(spec)});
    side.routes.push_back({.to = v4 ? Cidr(Ip::v4(0, 0, 0, 0), 96) : Cidr(),
                           .link = link,
                           .gateway = gateway,
                           .protocol = nl::kProtocolThalweg,
                           .onlink = true});
  }
  return side;
}

Side host_side(const PodLinkSpec& spec, uint32_t link) {
  Side side;
  for (const Ip& ip : spec.ips) {
    side.neighbours.push_back({.ip = ip, .link = link, .mac = pod_mac_of(spec)});
    side.routes.push_back({.to = Cidr::host(ip), .link = link, .protocol = nl::kProtocolThalweg});
  }
  return side;
}

// The link is up: routes need it.
Result<> apply(nl::Socket& socket, const Side& side) {
  for (const auto& address : side.addresses) TRY(nl::set_address(socket, address));
  for (const auto& neighbour : side.neighbours) TRY(nl::set_neighbour(socket, neighbour));
  for (const auto& route : side.routes) TRY(nl::set_route(socket, route));
  return {};
}

bool same_route(const nl::Route& a, const nl::Route& b) {
  return a.to == b.to && a.link == b.link && a.gateway == b.gateway && !a.blackhole && !b.blackhole;
}

Result<> check_side(nl::Socket& socket, const Side& side, uint32_t link) {
  const auto addresses = TRY(nl::addresses(socket, link));
  const auto neighbours = TRY(nl::neighbours(socket, link));
  const auto routes = TRY(nl::routes(socket));
  for (const auto& want : side.addresses)
    if (std::none_of(addresses.begin(), addresses.end(),
                     [&](const auto& have) { return have.ip == want.ip && have.length == want.length; }))
      return fail("address {} is missing", want.ip);
  for (const auto& want : side.neighbours)
    if (std::find(neighbours.begin(), neighbours.end(), want) == neighbours.end())
      return fail("neighbour {} is missing or not permanent", want.ip);
  for (const auto& want : side.routes)
    if (std::none_of(routes.begin(), routes.end(), [&](const auto& have) { return same_route(have, want); }))
      return fail("route to {} is missing", want.to);
  return {};
}

// ---- sysctls, before the link comes up: what must not happen would happen at that moment

Result<> quiet_ipv6(const std::string& link, bool wanted) {
  const std::string base = "net/ipv6/conf/" + link + "/";
  if (!wanted) {
    // Also fine on a kernel without IPv6.
    (void)set_sysctl(base + "disable_ipv6", "1");
    return {};
  }
  TRY(set_sysctl(base + "disable_ipv6", "0"));  // runtimes turn it off in new namespaces
  TRY(set_sysctl(base + "accept_ra", "0"));
  return set_sysctl(base + "accept_dad", "0");
}

// Every source address was decided by the program on this end; the kernel's own guess would drop replies.
Result<> tune_host_side(const PodLinkSpec& spec) {
  TRY(quiet_ipv6(spec.host_name, has_family(spec, false)));
  return set_sysctl("net/ipv4/conf/" + spec.host_name + "/rp_filter", "0");
}

// ---- making

// Work queues of the kernel finish both a moment later: the queue of the end that was up first, and an IPv6
// address as a destination. What comes before is lost. ADD answers when the first packet will pass.
Result<bool> is_ready(nl::Socket& socket, uint32_t link, const std::vector<nl::Address>& addresses) {
  if (!TRY(nl::link_by_index(socket, link)).operational) return false;
  for (const auto& address : addresses)
    if (!TRY(nl::is_local(socket, address.ip))) return false;
  return true;
}

Result<> await_ready(nl::Socket& socket, uint32_t link, const std::vector<nl::Address>& addresses) {
  constexpr int kTries = 4000;
  for (int i = 0; i < kTries; ++i) {
    if (TRY(is_ready(socket, link, addresses))) return {};
    ::usleep(500);
  }
  return fail_errno(ETIMEDOUT, "link {} is up but passes no packets", link);
}

Result<nl::Link> make_pod_side(const PodLinkSpec& spec, const Netns& netns) {
  TRY(netns.run([&] { return quiet_ipv6(spec.ifname, has_family(spec, false)); }));
  auto socket = TRY(nl::Socket::open_in(netns));
  const nl::Link link = TRY(nl::link_by_name(socket, spec.ifname));
  TRY(nl::set_up(socket, link.index));
  const Side side = pod_side(spec, link.index);
  TRY(apply(socket, side));
  TRY(await_ready(socket, link.index, side.addresses));
  return link;
}

Result<PodLink> make(nl::Socket& host, const PodLinkSpec& spec, const Netns& netns) {
  TRY(nl::create_veth(host, {.name = spec.host_name,
                             .mac = host_mac_of(spec),
                             .peer_name = spec.ifname,
                             .peer_mac = pod_mac_of(spec),
                             .peer_netns = &netns,
                             .mtu = spec.mtu}));
  TRY(tune_host_side(spec));
  const nl::Link link = TRY(nl::link_by_name(host, spec.host_name));
  TRY(nl::set_up(host, link.index));
  TRY(context(make_pod_side(spec, netns), "in the pod"));
  TRY(apply(host, host_side(spec, link.index)));
  TRY(await_ready(host, link.index, {}));
  return PodLink{link.index, pod_mac_of(spec), host_mac_of(spec)};
}

Result<PodLink> check_link(nl::Socket& host, const PodLinkSpec& spec, const Netns& netns) {
  auto pod = TRY(nl::Socket::open_in(netns));
  const nl::Link ours = TRY(nl::link_by_name(host, spec.host_name));
  const nl::Link theirs = TRY(context(nl::link_by_name(pod, spec.ifname), "in the pod"));
  if (ours.kind != "veth" || theirs.kind != "veth" || ours.peer != theirs.index || theirs.peer != ours.index)
    return fail("{} and the pod's {} are not the two ends of one veth", spec.host_name, spec.ifname);
  if (!ours.up) return fail("{} is down", spec.host_name);
  if (!theirs.up) return fail("the pod's {} is down", spec.ifname);
  if (ours.mac != host_mac_of(spec) || theirs.mac != pod_mac_of(spec))
    return fail("a MAC address was changed");
  if (ours.mtu != spec.mtu || theirs.mtu != spec.mtu) return fail("MTU is not {}", spec.mtu);
  TRY(context(check_side(pod, pod_side(spec, theirs.index), theirs.index), "in the pod"));
  TRY(context(check_side(host, host_side(spec, ours.index), ours.index), "on the host"));
  return PodLink{ours.index, theirs.mac, ours.mac};
}

}  // namespace

std::string host_link_name(std::string_view container_id, std::string_view ifname) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a; a NUL between the two, which neither can hold
  const auto take = [&](std::string_view text) {
    for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  };
  take(container_id);
  take({"\0", 1});
  take(ifname);
  return fmt::format("tw{:011x}", hash >> 20);
}

Result<PodLink> wire(const PodLinkSpec& spec) {
  TRY(check_spec(spec));
  const Netns netns = TRY(Netns::open(spec.netns_path));
  if (netns.inode() == TRY(Netns::current()).inode())
    return fail("{} is the node's own namespace", spec.netns_path);
  auto host = TRY(nl::Socket::open());
  if (auto standing = check_link(host, spec, netns)) return standing;
  TRY(nl::delete_link(host, spec.host_name));
  auto made = make(host, spec, netns);
  // EEXIST: the name in the pod is another's, or ours was taken between the two lines above; nothing of ours
  // was made then.
  if (!made && made.error().code != EEXIST) (void)nl::delete_link(host, spec.host_name);
  return context(std::move(made), "wire {}", spec.host_name);
}

void add_host_side(const PodLinkSpec& spec, uint32_t host_ifindex, HostState& state) {
  const Side side = host_side(spec, host_ifindex);
  state.links.push_back({host_ifindex, spec.mtu});
  state.routes.insert(state.routes.end(), side.routes.begin(), side.routes.end());
  state.neighbours.insert(state.neighbours.end(), side.neighbours.begin(), side.neighbours.end());
}

Result<bool> repair_pod_side(const PodLinkSpec& spec) {
  TRY(check_spec(spec));
  const Netns netns = TRY(Netns::open(spec.netns_path));
  auto socket = TRY(nl::Socket::open_in(netns));
  const nl::Link link = TRY(nl::link_by_name(socket, spec.ifname));
  const bool amiss = !link.up || link.mtu != spec.mtu;
  if (link.mtu != spec.mtu) TRY(nl::set_mtu(socket, link.index, spec.mtu));
  if (!link.up) TRY(nl::set_up(socket, link.index));
  const Side side = pod_side(spec, link.index);
  if (!amiss && check_side(socket, side, link.index)) return false;
  TRY(apply(socket, side));
  return true;
}

Result<> unwire(const std::string& host_name) {
  auto host = TRY(nl::Socket::open());
  return nl::delete_link(host, host_name);
}

Result<PodLink> check(const PodLinkSpec& spec) {
  TRY(check_spec(spec));
  const Netns netns = TRY(Netns::open(spec.netns_path));
  auto host = TRY(nl::Socket::open());
  return check_link(host, spec, netns);
}

}  // namespace thalweg::dataplane
