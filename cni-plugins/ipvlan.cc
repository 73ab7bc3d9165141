// ipvlan: the container's interface is a link upon one of the host's, with the master's MAC address. Behind
// another plugin it may stand upon that one's link, and take its addresses.
#include <algorithm>

#include "cni-plugins/master.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace {

constexpr std::pair<std::string_view, nl::IpvlanMode> kModes[] = {
    {"l2", nl::IpvlanMode::L2}, {"l3", nl::IpvlanMode::L3}, {"l3s", nl::IpvlanMode::L3s}};

nl::IpvlanMode read_mode(Fields& fields) {
  const std::string name = fields.text("mode");
  for (const auto& [known, mode] : kModes)
    if (name == known || name.empty()) return mode;
  fields.refuse("mode", fmt::format("\"{}\" is none of l2, l3, l3s", name));
  return {};
}

std::string_view name_of(nl::IpvlanMode mode) {
  const auto it = std::find_if(std::begin(kModes), std::end(kModes),
                               [&](const auto& each) { return each.second == mode; });
  return it == std::end(kModes) ? "unknown" : it->first;
}

Outcome<> check_mode(nl::Socket& pod, const nl::Link& link, nl::IpvlanMode mode) {
  const auto have = TRY(nl::ipvlan_mode(pod, link.index));
  if (have == mode) return {};
  return refuse(kPluginFailure,
                fmt::format("{} has the mode {}, not {}", link.name, name_of(have), name_of(mode)));
}

// What the plugin before has given: the only link it tells is the master, and its addresses go to this one.
void read_chain(const CniResult& before, Fields& fields, Master& master, PodLink& link) {
  if (master.name.empty() && (before.interfaces.size() != 1 || before.interfaces[0].name.empty()))
    fields.refuse("master", "is missing, and prevResult has not one interface with a name");
  else if (master.name.empty())
    master.name = before.interfaces[0].name;
  if (link.ipam.empty() && !before.ips.empty()) link.chained = before;
}

Outcome<PodLink> read(const Request& request) {
  Fields fields(request.config);
  Master master = read_master(fields);
  const nl::IpvlanMode mode = read_mode(fields);
  PodLink link = read_pod_link(fields, "ipvlan");
  if (request.verb == Verb::Add) {
    if (request.previous) read_chain(*request.previous, fields, master, link);
    if (link.ipam.empty() && !link.chained)
      fields.refuse("ipam", "is missing, and prevResult has no addresses");
  }
  TRY(fields.done());
  link.notify = true;
  link.make = [&request, master, mode](Places& at) {
    return make_upon(at, request, master, {},
                     [&](const nl::NewLink& made) { return nl::ipvlan_request(made, mode); });
  };
  link.check = [master, mode](Places& at, const nl::Link& have) -> Outcome<> {
    TRY(check_upon(at, master, have));
    return check_mode(at.pod, have, mode);
  };
  return link;
}

}  // namespace

Plugin ipvlan_plugin() { return pod_link_plugin("ipvlan", read); }

}  // namespace thalweg::cni
