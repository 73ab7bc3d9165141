#include "cni-plugins/pod_link.h"

#include "cni-plugins/delegate.h"
#include "cni-plugins/host_rules.h"
#include "cni-plugins/pod_interface.h"

namespace thalweg::cni {

namespace {

Outcome<Places> places_of(Netns netns) {
  auto host = TRY(nl::Socket::open());
  auto pod = TRY(nl::Socket::open_in(netns));
  return Places{std::move(netns), std::move(host), std::move(pod)};
}

Outcome<> unmake(Places& at, const Request& request, const PodLink& link) {
  if (link.unmake) return link.unmake(at);
  TRY(nl::delete_link(at.pod, passing_name(request)));
  TRY(remove(at.pod, request.ifname));
  return {};
}

// ---- ADD

Outcome<> make(Places& at, const Request& request, const PodLink& link, CniResult& result) {
  TRY(check_free(at.pod, request.ifname));
  TRY(nl::delete_link(at.pod, passing_name(request)));  // of an ADD that was killed
  TRY(link.make(at));
  const auto made = nl::link_by_name(at.pod, request.ifname);
  if (made) return result.interfaces.push_back(interface_of(*made, request.netns)), Outcome<>();
  (void)unmake(at, request, link);
  return refuse(kPluginFailure, made.error().message);
}

Outcome<> take_addresses(const Request& request, const PodLink& link, CniResult& result) {
  CniResult given = link.chained ? *link.chained : TRY(delegate_add(request, link.ipam));
  if (given.ips.empty()) return refuse(kPluginFailure, link.ipam + " gave no address");
  for (AddressConfig& address : given.ips) address.interface = 0;
  result.ips = std::move(given.ips);
  result.routes = std::move(given.routes);
  result.dns = std::move(given.dns);
  return {};
}

// Where the kernel lacks a family, there is nobody to notify by it.
Result<> notify_neighbours(const Places& at, const std::string& ifname) {
  return at.netns.run([&]() -> Result<> {
    (void)set_sysctl("net/ipv4/conf/" + ifname + "/arp_notify", "1");
    (void)set_sysctl("net/ipv6/conf/" + ifname + "/ndisc_notify", "1");
    return {};
  });
}

Outcome<CniResult> add(const Request& request, const PodLink& link) {
  Places at = TRY(places_of(TRY(open_netns(request))));
  CniResult result;
  if (link.make)
    TRY(make(at, request, link, result));
  else
    result.interfaces = {{.name = request.ifname, .sandbox = request.netns}};
  Undo unlink([&] {
    if (link.make) (void)unmake(at, request, link);
  });
  Undo release([&] {
    if (link.masquerade) (void)remove_masquerade(request);
    if (!link.ipam.empty()) (void)delegate(Verb::Del, request, link.ipam);
  });
  if (!link.ipam.empty() || link.chained) TRY(take_addresses(request, link, result));
  if (link.notify) TRY(notify_neighbours(at, request.ifname));
  if (link.make) TRY(configure(at.netns, at.pod, request.ifname, result));
  if (link.finish) TRY(link.finish(at, result));
  if (link.masquerade) TRY(add_masquerade(request, result));
  if (!link.dns.empty()) result.dns = link.dns;
  unlink.keep(), release.keep();
  return result;
}

// ---- the others

// The addresses are given back also where the link cannot be taken away.
Outcome<> del(const Request& request, const PodLink& link) {
  Outcome<> removed;
  if (auto netns = TRY(find_netns(request)); netns && link.make) {
    Places at = TRY(places_of(std::move(*netns)));
    removed = unmake(at, request, link);
  }
  if (link.masquerade) TRY(remove_masquerade(request));
  if (!link.ipam.empty()) TRY(delegate(Verb::Del, request, link.ipam));
  return removed;
}

Outcome<> check(const Request& request, const PodLink& link) {
  Places at = TRY(places_of(TRY(open_netns(request))));
  if (!link.ipam.empty()) TRY(delegate(Verb::Check, request, link.ipam));
  if (link.masquerade) TRY(check_masquerade(request));
  if (!link.make) return {};
  const Interface* said = find_interface(*request.previous, request.ifname, request.netns);
  if (!said) return refuse(kInvalidConfig, fmt::format("prevResult: {} is not in it", request.ifname));
  const nl::Link have = TRY(nl::link_by_name(at.pod, request.ifname));
  if (!link.kind.empty() && have.kind != link.kind)
    return refuse(kPluginFailure, fmt::format("{} is no {}", have.name, link.kind));
  if (!said->mac.empty() && said->mac != nl::mac_str(have.mac))
    return refuse(kPluginFailure, fmt::format("{} has the MAC address {}, not {}", have.name,
                                              nl::mac_str(have.mac), said->mac));
  if (link.check) TRY(link.check(at, have));
  return check_configured(at.pod, have, *request.previous);
}

// GC, STATUS: links go with their namespaces, addresses are the IPAM plugin's.
Outcome<> pass_on(const Request& request, const PodLink& link) {
  if (link.masquerade && request.verb == Verb::Gc) TRY(collect_masquerade(request));
  return link.ipam.empty() ? Outcome<>() : delegate(request.verb, request, link.ipam);
}

}  // namespace

PodLink read_pod_link(Fields& fields, std::string kind, bool needs_ipam) {
  PodLink link{.kind = std::move(kind),
               .ipam = fields.object("ipam").text("type"),
               .chained = {},
               .dns = fields.object("dns").raw(),
               .make = {}};
  if (needs_ipam && link.ipam.empty()) fields.refuse("ipam", "is missing: this plugin needs addresses");
  return link;
}

std::string passing_name(const Request& request) { return host_name("tmp", request); }

Plugin pod_link_plugin(std::string_view name, Outcome<PodLink> (*read)(const Request&)) {
  const auto with_link = [read](auto verb) {
    return [read, verb](const Request& request) -> decltype(verb(request, PodLink())) {
      const PodLink link = TRY(read(request));
      return verb(request, link);
    };
  };
  return {name, with_link(add), with_link(del), with_link(check), with_link(pass_on), with_link(pass_on)};
}

}  // namespace thalweg::cni
