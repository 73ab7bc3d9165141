// portmap: ports of this host lead to the container. Stands behind the plugin that made its interface. Last
// write wins, as in the reference: a port that another container has is not reserved for it.
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/link.h"
#include "base/netns.h"
#include "cni-plugins/conntrack.h"
#include "cni-plugins/delegate.h"
#include "cni-plugins/fields.h"
#include "cni-plugins/host_rules.h"
#include "cni-plugins/plugins.h"
#include "cni-plugins/port_conditions.h"

namespace thalweg::cni {

namespace {

const std::vector<Purpose> kPurposes = {Purpose::HostPorts, Purpose::HostPortMasquerade};

struct Mapping {
  uint8_t protocol = IPPROTO_TCP;
  uint16_t host_port = 0, container_port = 0;
  std::optional<Ip> host_ip;  // the unspecified address: any of its family
};

struct Config {
  bool snat = true, masquerade_all = false;
  std::vector<PortCondition> conditions;
  std::vector<Mapping> mappings;
};

Mapping read_mapping(Fields& fields) {
  Mapping out{.host_port = static_cast<uint16_t>(fields.number("hostPort", 1, 65'535).value_or(0)),
              .container_port = static_cast<uint16_t>(fields.number("containerPort", 1, 65'535).value_or(0))};
  for (const char* port : {"hostPort", "containerPort"})
    if (!fields.has(port)) fields.refuse(port, "is required");
  const std::string protocol = fields.text("protocol", "tcp");
  constexpr std::pair<std::string_view, uint8_t> kProtocols[] = {
      {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"sctp", IPPROTO_SCTP}};
  const auto* known = std::find_if(std::begin(kProtocols), std::end(kProtocols), [&](const auto& each) {
    return std::equal(protocol.begin(), protocol.end(), each.first.begin(), each.first.end(),
                      [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
  });
  if (known == std::end(kProtocols))
    fields.refuse("protocol", fmt::format("\"{}\" is none of tcp, udp, sctp", protocol));
  else
    out.protocol = known->second;
  if (!fields.text("hostIP").empty()) {
    const auto ip = Ip::parse(fields.text("hostIP"));
    if (!ip) fields.refuse("hostIP", ip.error().message);
    out.host_ip = ip.value_or(Ip());
  }
  return out;
}

// markMasqBit and externalSetMarkChain say how iptables rules are to mark what must be masqueraded: nftables
// masquerades it without a mark.
Outcome<Config> read_config(const Request& request) {
  const bool say = request.verb == Verb::Add;
  Fields fields(request.config);
  Config out{.snat = fields.flag("snat", true), .masquerade_all = fields.flag("masqAll")};
  if (fields.number("markMasqBit", 0, 31) && fields.has("externalSetMarkChain"))
    fields.refuse("markMasqBit", "does not go with externalSetMarkChain");
  const bool chain = !fields.text("externalSetMarkChain").empty();
  read_conditions(fields, "conditionsV4", true, out.conditions);
  read_conditions(fields, "conditionsV6", false, out.conditions);
  for (Fields& mapping : fields.object("runtimeConfig").objects("portMappings"))
    out.mappings.push_back(read_mapping(mapping));
  const std::string backend = fields.text("backend", chain ? "iptables" : "");
  TRY(fields.done());
  TRY(check_backend("backend", backend, say));
  return out;
}

// The container's first address of each family: of its own interface, where the result says which.
std::vector<Ip> container_ips(const Request& request) {
  std::vector<Ip> out;
  const CniResult& result = *request.previous;
  for (const AddressConfig& address : result.ips) {
    if (address.interface && *address.interface < result.interfaces.size()) {
      const Interface& of = result.interfaces[*address.interface];
      if (of.name != request.ifname || of.sandbox.empty()) continue;
    }
    if (std::none_of(out.begin(), out.end(), [&](const Ip& ip) { return ip.is_v4() == address.ip.is_v4(); }))
      out.push_back(address.ip);
  }
  return out;
}

bool applies(const Mapping& mapping, const Ip& ip) {
  return !mapping.host_ip || mapping.host_ip->is_v4() == ip.is_v4();
}

bool is_any(const Ip& ip) { return ip.is_none() || ip == Ip::v4(0, 0, 0, 0); }

HostRules::Rule forward_rule(const Config& config, const Mapping& mapping, const Ip& ip) {
  return {Purpose::HostPorts, [&config, &mapping, ip](nft::Expressions& rule) {
            const bool v4 = ip.is_v4();
            if (mapping.host_ip && !is_any(*mapping.host_ip))
              rule.address(nft::Side::Destination, Cidr::host(*mapping.host_ip));
            else
              rule.address(nft::Side::Destination, v4 ? Cidr(Ip::v4(0, 0, 0, 0), 96) : Cidr());
            for (const PortCondition& condition : config.conditions)
              if (condition.v4 == v4) condition.put(rule);
            rule.protocol(mapping.protocol);
            rule.port(nft::Side::Destination, mapping.host_port);
            rule.dnat(ip, mapping.container_port);
          }};
}

HostRules::Rule masquerade_rule(const Cidr& from, const Ip& ip) {
  return {Purpose::HostPortMasquerade, [from, ip](nft::Expressions& rule) {
            rule.address(nft::Side::Source, from);
            rule.address(nft::Side::Destination, Cidr::host(ip));
            rule.masquerade();
          }};
}

// The container itself, and this host by its loopback, would get answers by a way that knows of no mapping.
void add_masquerades(std::vector<HostRules::Rule>& rules, const Config& config, const Ip& ip) {
  const Cidr everything = ip.is_v4() ? Cidr(Ip::v4(0, 0, 0, 0), 96) : Cidr();
  if (!config.snat) return;
  if (config.masquerade_all) return rules.push_back(masquerade_rule(everything, ip));
  rules.push_back(masquerade_rule(Cidr::host(ip), ip));
  if (ip.is_v4()) rules.push_back(masquerade_rule(Cidr::host(Ip::v4(127, 0, 0, 1)), ip));
}

std::vector<HostRules::Rule> rules_for(const Request& request, const Config& config) {
  std::vector<HostRules::Rule> rules;
  for (const Ip& ip : container_ips(request)) {
    for (const Mapping& mapping : config.mappings)
      if (applies(mapping, ip)) rules.push_back(forward_rule(config, mapping, ip));
    add_masquerades(rules, config, ip);
  }
  return rules;
}

// 127/8 may leave by the link to the container.
Result<> allow_loopback(const Ip& ip) {
  auto host = TRY(nl::Socket::open());
  const nl::Route way = TRY(nl::route_to(host, ip));
  if (way.link == 0) return {};
  const nl::Link link = TRY(nl::link_by_index(host, way.link));
  return set_sysctl("net/ipv4/conf/" + link.name + "/route_localnet", "1");
}

Result<> make_way(const Request& request, const Config& config) {
  std::set<uint16_t> udp;
  for (const Mapping& mapping : config.mappings)
    if (mapping.protocol == IPPROTO_UDP) udp.insert(mapping.host_port);
  for (const Ip& ip : container_ips(request)) {
    TRY(forget_udp_to(udp, ip.is_v4()));
    if (config.snat && ip.is_v4()) TRY(allow_loopback(ip));
  }
  return {};
}

Result<> remove(const Request& request) {
  return TRY(HostRules::open())
  .remove(owner_of(request), kPurposes);
}

Outcome<CniResult> add(const Request& request) {
  const Config config = TRY(read_config(request));
  if (!request.previous)
    return refuse(kInvalidConfig, "prevResult is required: portmap stands behind another plugin");
  if (config.mappings.empty()) return *request.previous;
  Undo undo([&] { (void)remove(request); });
  TRY(TRY(HostRules::open()).set(owner_of(request), kPurposes, rules_for(request, config)));
  TRY(make_way(request, config));
  undo.keep();
  return *request.previous;
}

// Whatever the configuration says by now.
Outcome<> del(const Request& request) {
  TRY(remove(request));
  return {};
}

Outcome<> check(const Request& request) {
  const Config config = TRY(read_config(request));
  if (config.mappings.empty()) return {};
  auto host_rules = TRY(HostRules::open());
  const auto wanted = rules_for(request, config);
  for (const Purpose purpose : kPurposes) {
    const auto count = std::count_if(wanted.begin(), wanted.end(),
                                     [&](const auto& rule) { return rule.purpose == purpose; });
    const size_t have = TRY(host_rules.count(owner_of(request), purpose));
    if (have < static_cast<size_t>(count))
      return refuse(kPluginFailure, fmt::format("{} of its {} rules for host ports are there", have, count));
  }
  return {};
}

Outcome<> gc(const Request& request) {
  TRY(TRY(HostRules::open()).collect(request.network, request.valid_attachments, kPurposes));
  return {};
}

Outcome<> status(const Request& request) {
  TRY(read_config(request));
  TRY(under(kNotAvailable, HostRules::open()));
  return {};
}

}  // namespace

Plugin portmap_plugin() { return {"portmap", add, del, check, gc, status}; }

}  // namespace thalweg::cni
