// bridge: the container's interface is a veth's end, the other end a port of a bridge of the host.
#include "base/bridge.h"
#include "base/link_settings.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "cni-plugins/delegate.h"
#include "cni-plugins/fields.h"
#include "cni-plugins/host_rules.h"
#include "cni-plugins/mac.h"
#include "cni-plugins/plugins.h"
#include "cni-plugins/pod_interface.h"

namespace thalweg::cni {

namespace {

constexpr int kPortTries = 12'000;  // of 200 µs: as long as the reference waits for the port

struct Config {
  std::string bridge, ipam, masquerade_backend;
  std::optional<nl::Mac> mac;
  bool gateway = false, default_gateway = false, force_address = false, masquerade = false;
  bool hairpin = false, promiscuous = false, isolated = false;
  bool spoof_check = false, dad = false, no_interface = false, keep_default_vlan = true;
  uint32_t mtu = 0;
  uint16_t vlan = 0;
  std::set<uint16_t> trunk;
  boost::json::object dns;
};

// "minID" with "maxID", "id", or all three.
void read_trunk(Fields& fields, std::set<uint16_t>& trunk) {
  for (Fields& row : fields.objects("vlanTrunk")) {
    const auto least = row.number("minID", 1, 4094), most = row.number("maxID", 1, 4094),
               id = row.number("id", 1, 4094);
    if (least.has_value() != most.has_value()) row.refuse(least ? "maxID" : "minID", "is missing");
    if (least && most && *most < *least) row.refuse("minID", "is greater than maxID");
    for (int64_t each = least.value_or(1); each <= most.value_or(0); ++each)
      trunk.insert(static_cast<uint16_t>(each));
    if (id) trunk.insert(static_cast<uint16_t>(*id));
  }
}

Outcome<Config> read_config(const Request& request) {
  Fields fields(request.config);
  Config out{.bridge = fields.text("bridge", "cni0"),
             .ipam = fields.object("ipam").text("type"),
             .masquerade_backend = fields.text("ipMasqBackend"),
             .gateway = fields.flag("isGateway"),
             .default_gateway = fields.flag("isDefaultGateway"),
             .force_address = fields.flag("forceAddress"),
             .masquerade = fields.flag("ipMasq"),
             .hairpin = fields.flag("hairpinMode"),
             .promiscuous = fields.flag("promiscMode"),
             .isolated = fields.flag("portIsolation"),
             .spoof_check = fields.flag("macspoofchk"),
             .dad = fields.flag("enabledad"),
             .no_interface = fields.flag("disableContainerInterface"),
             .keep_default_vlan = fields.flag("preserveDefaultVlan"),
             .mtu = static_cast<uint32_t>(fields.number("mtu", 0, 65'535).value_or(0)),
             .vlan = static_cast<uint16_t>(fields.number("vlan", 0, 4094).value_or(0)),
             .dns = fields.object("dns").raw()};
  read_trunk(fields, out.trunk);
  out.mac = TRY(read_mac(request, fields));
  out.gateway |= out.default_gateway;
  if (!nl::is_link_name(out.bridge))
    fields.refuse("bridge", fmt::format("\"{}\" is no link's name", out.bridge));
  if (!out.ipam.empty() && out.no_interface)
    fields.refuse("disableContainerInterface", "does not go with ipam");
  if (out.hairpin && out.promiscuous) fields.refuse("hairpinMode", "does not go with promiscMode");
  TRY(fields.done());
  TRY(check_backend("ipMasqBackend", out.masquerade_backend, request.verb == Verb::Add));
  return out;
}

// ---- the bridge

Outcome<nl::Link> find_bridge(nl::Socket& host, const std::string& name) {
  const nl::Link link = TRY(nl::link_by_name(host, name));
  if (link.kind != "bridge") return refuse(kPluginFailure, fmt::format("{} is there, but no bridge", name));
  return link;
}

// There already is as good as made: another ADD may have been first.
Outcome<nl::Link> ensure_bridge(nl::Socket& host, const Config& config) {
  const bool filtering = config.vlan != 0 || !config.trunk.empty();
  const auto made = nl::create_bridge(host, {config.bridge, config.mtu, filtering});
  if (!made && made.error().code != EEXIST) return refuse(kPluginFailure, made.error().message);
  const nl::Link bridge = TRY(find_bridge(host, config.bridge));
  if (config.promiscuous) TRY(nl::set_promiscuous(host, bridge.index, true));
  (void)set_sysctl("net/ipv6/conf/" + config.bridge + "/accept_ra", "0");
  // Until its link-local address is sure, a second or two, it asks for no neighbour on behalf of others.
  if (made && !config.dad) (void)set_sysctl("net/ipv6/conf/" + config.bridge + "/accept_dad", "0");
  if (!bridge.up) TRY(nl::set_up(host, bridge.index));
  return bridge;
}

bool overlap(const Cidr& a, const Cidr& b) { return a.contains(b) || b.contains(a); }

// The gateway's address is the bridge's. IPv6 may have several that are apart, IPv4 one.
Outcome<> ensure_gateway(nl::Socket& host, const nl::Link& link, const AddressConfig& address, bool force) {
  const Cidr subnet = subnet_of(address);
  for (const nl::Address& have : TRY(nl::addresses(host, link.index))) {
    if (have.ip == address.gateway && have.length == subnet.length()) return {};
    if (have.ip.is_v4() != address.ip.is_v4() ||
        (!have.ip.is_v4() && !overlap(Cidr(have.ip, have.length), subnet)))
      continue;
    if (!force)
      return refuse(kPluginFailure, fmt::format("{} has the address {} already, not {} (forceAddress is off)",
                                                link.name, have.ip, address.gateway));
    TRY(nl::delete_address(host, have));
  }
  TRY(nl::set_address(host, {.ip = address.gateway, .length = subnet.length(), .link = link.index}));
  // Its own from now on: otherwise it takes the lowest among its ports', and changes as they come and go (one
  // that had ports and has none is left with zeros).
  TRY(nl::set_mac(host, link.index, TRY(nl::link_by_index(host, link.index)).mac));
  return {};
}

// ---- the pair

struct Pair {
  nl::Link host, pod;
};

Outcome<> set_vlans(nl::Socket& host, uint32_t port, const Config& config) {
  const bool native = config.vlan != 0;
  if (!native && config.trunk.empty()) return {};
  if (!config.keep_default_vlan)
    for (const uint16_t id : TRY(nl::vlans(host, port))) TRY(nl::delete_vlan(host, port, id));
  for (const uint16_t id : config.trunk) TRY(nl::add_vlan(host, port, {.id = id}));
  const uint16_t own = native ? config.vlan : uint16_t{1};
  TRY(nl::add_vlan(host, port, {.id = own, .native = true, .untagged = true}));
  return {};
}

Outcome<Pair> make_pair(nl::Socket& host, nl::Socket& pod, const Netns& netns, const Request& request,
                        const nl::Link& bridge, const Config& config) {
  TRY(check_free(pod, request.ifname));
  const std::string name = TRY(create_pair(host, netns, request, config.mtu, config.mac));
  Undo undo([&] { (void)nl::delete_link(host, name); });
  (void)set_sysctl("net/ipv6/conf/" + name + "/accept_ra", "0");
  const nl::Link port = TRY(nl::link_by_name(host, name));
  TRY(nl::join_bridge(host, {port.index, bridge.index, config.hairpin, config.isolated}));
  TRY(set_vlans(host, port.index, config));
  undo.keep();
  return Pair { port, TRY(nl::link_by_name(pod, request.ifname)) };
}

// A work queue of the kernel tells the bridge of the carrier: what comes before is lost.
Outcome<> await_port(nl::Socket& host, uint32_t port) {
  for (int i = 0; !TRY(nl::link_by_index(host, port)).operational; ++i) {
    if (i == kPortTries) return refuse(kPluginFailure, "the bridge's port does not come up");
    ::usleep(200);
  }
  return {};
}

// ---- addresses

// What the IPAM plugin left open: the gateway, and the default route over it.
void complete(CniResult& result, const Config& config) {
  for (AddressConfig& address : result.ips) {
    address.interface = 2;
    const bool v4 = address.ip.is_v4();
    if (config.gateway && address.gateway.is_none()) address.gateway = subnet_of(address).ip().plus(1);
    const Cidr everything = v4 ? Cidr(Ip::v4(0, 0, 0, 0), 96) : Cidr();
    const bool has_default = std::any_of(result.routes.begin(), result.routes.end(), [&](const Route& route) {
      return route.to == everything && !route.gateway.is_none();
    });
    if (config.default_gateway && !has_default)
      result.routes.push_back({.to = everything, .gateway = address.gateway});
  }
}

Outcome<> add_gateways(nl::Socket& host, const nl::Link& bridge, const CniResult& result,
                       const Config& config) {
  for (const AddressConfig& address : result.ips) {
    TRY(ensure_gateway(host, bridge, address, config.force_address));
    TRY(enable_forwarding(address.ip.is_v4()));
  }
  return {};
}

// What the container sends must come from its MAC address.
Result<> check_sources(const Request& request, const Pair& pair) {
  return TRY(HostRules::open())
  .set(owner_of(request), {Purpose::SpoofCheck}, {{Purpose::SpoofCheck, [&](auto& rule) {
                                                     rule.input_link(pair.host.name);
                                                     rule.ether_source(pair.pod.mac, nft::Match::IsNot);
                                                     rule.drop();
                                                   }}});
}

Result<> forget_rules(const Request& request, const Config& config) {
  if (config.masquerade) TRY(remove_masquerade(request));
  if (config.spoof_check) TRY(TRY(HostRules::open()).remove(owner_of(request), {Purpose::SpoofCheck}));
  return {};
}

// ---- verbs

Outcome<CniResult> add(const Request& request) {
  const Config config = TRY(read_config(request));
  const Netns netns = TRY(open_netns(request));
  auto host = TRY(nl::Socket::open())
  , pod = TRY(nl::Socket::open_in(netns));
  const nl::Link bridge = TRY(ensure_bridge(host, config));
  const Pair pair = TRY(make_pair(host, pod, netns, request, bridge, config));
  Undo unlink([&] { (void)nl::delete_link(host, pair.host.index); });
  CniResult result{
      .interfaces = {interface_of(bridge), interface_of(pair.host), interface_of(pair.pod, request.netns)}};
  Undo release([&] {
    (void)forget_rules(request, config);
    if (!config.ipam.empty()) (void)delegate(Verb::Del, request, config.ipam);
  });
  if (config.spoof_check) TRY(check_sources(request, pair));
  if (!config.ipam.empty()) {
    CniResult given = TRY(delegate_add(request, config.ipam));
    if (given.ips.empty()) return refuse(kPluginFailure, config.ipam + " gave no address");
    result.ips = std::move(given.ips), result.routes = std::move(given.routes),
    result.dns = std::move(given.dns);
    complete(result, config);
    TRY(configure(netns, pod, request.ifname, result, config.dad));
    if (config.gateway) TRY(add_gateways(host, bridge, result, config));
    if (config.masquerade) TRY(add_masquerade(request, result));
  } else if (!config.no_interface) {
    TRY(nl::set_up(pod, pair.pod.index));
  }
  if (!config.no_interface) TRY(await_port(host, pair.host.index));
  result.interfaces[0] = interface_of(TRY(find_bridge(host, config.bridge)));  // its MAC may have changed
  if (!config.dns.empty()) result.dns = config.dns;
  unlink.keep(), release.keep();
  return result;
}

Outcome<> del(const Request& request) {
  const Config config = TRY(read_config(request));
  if (const auto netns = TRY(find_netns(request))) {
    auto pod = TRY(nl::Socket::open_in(*netns));
    TRY(remove(pod, request.ifname));
  }
  TRY(forget_rules(request, config));
  if (!config.ipam.empty()) TRY(delegate(Verb::Del, request, config.ipam));
  return {};
}

Outcome<> check_port(nl::Socket& host, const nl::Link& bridge, const nl::Link& pod, const Config& config) {
  const auto port = nl::link_by_index(host, pod.peer);
  if (!port || port->kind != "veth" || port->master != bridge.index)
    return refuse(kPluginFailure, fmt::format("the other end of {} is no port of {}", pod.name, bridge.name));
  const auto state = TRY(nl::port_state(host, port->index));
  if (state.hairpin != config.hairpin)
    return refuse(kPluginFailure, fmt::format("{}: hairpinMode is {}", port->name, state.hairpin));
  return {};
}

Outcome<> check_rules(const Request& request, const Config& config) {
  if (config.masquerade) TRY(check_masquerade(request));
  if (config.spoof_check && TRY(TRY(HostRules::open()).count(owner_of(request), Purpose::SpoofCheck)) == 0)
    return refuse(kPluginFailure, "its macspoofchk rule is missing");
  return {};
}

Outcome<> check(const Request& request) {
  const Config config = TRY(read_config(request));
  const Netns netns = TRY(open_netns(request));
  if (!config.ipam.empty()) TRY(delegate(Verb::Check, request, config.ipam));
  auto host = TRY(nl::Socket::open())
  , pod = TRY(nl::Socket::open_in(netns));
  const Interface* said = find_interface(*request.previous, request.ifname, request.netns);
  if (!said) return refuse(kInvalidConfig, fmt::format("prevResult: {} is not in it", request.ifname));
  const nl::Link bridge = TRY(find_bridge(host, config.bridge))
  , link = TRY(nl::link_by_name(pod, request.ifname));
  if (link.kind != "veth") return refuse(kPluginFailure, fmt::format("{} is no veth", link.name));
  if (!said->mac.empty() && said->mac != nl::mac_str(link.mac))
    return refuse(kPluginFailure, fmt::format("{} has the MAC address {}, not {}", link.name,
                                              nl::mac_str(link.mac), said->mac));
  TRY(check_port(host, bridge, link, config));
  TRY(check_rules(request, config));
  return config.ipam.empty() ? Outcome<>() : check_configured(pod, link, *request.previous);
}

// Links go with their namespaces; addresses are the IPAM plugin's.
Outcome<> gc(const Request& request) {
  const Config config = TRY(read_config(request));
  auto rules = TRY(HostRules::open());
  for (const Purpose purpose : {Purpose::Masquerade, Purpose::SpoofCheck})
    TRY(rules.collect(request.network, request.valid_attachments, {purpose}));
  return config.ipam.empty() ? Outcome<>() : delegate(Verb::Gc, request, config.ipam);
}

Outcome<> status(const Request& request) {
  const Config config = TRY(read_config(request));
  return config.ipam.empty() ? Outcome<>() : delegate(Verb::Status, request, config.ipam);
}

}  // namespace

Plugin bridge_plugin() { return {"bridge", add, del, check, gc, status}; }

}  // namespace thalweg::cni
