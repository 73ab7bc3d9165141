// vlan: the container's interface is one VLAN (IEEE 802.1Q) of a link of the host's.
#include "cni-plugins/master.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace {

Outcome<> check_id(nl::Socket& pod, const nl::Link& link, uint16_t id) {
  const uint16_t have = TRY(nl::vlan_id(pod, link.index));
  if (have == id) return {};
  return refuse(kPluginFailure, fmt::format("{} is of VLAN {}, not {}", link.name, have, id));
}

Outcome<PodLink> read(const Request& request) {
  Fields fields(request.config);
  const Master master = read_master(fields);
  if (master.name.empty()) fields.refuse("master", "is missing: the link whose VLAN it is to be");
  const auto id = static_cast<uint16_t>(fields.number("vlanId", 0, 4094).value_or(0));
  PodLink link = read_pod_link(fields, "vlan", true);
  TRY(fields.done());
  link.make = [&request, master, id](Places& at) {
    return make_upon(at, request, master, {},
                     [&](const nl::NewLink& made) { return nl::vlan_request(made, id); });
  };
  link.check = [master, id](Places& at, const nl::Link& have) -> Outcome<> {
    TRY(check_upon(at, master, have));
    return check_id(at.pod, have, id);
  };
  return link;
}

}  // namespace

Plugin vlan_plugin() { return pod_link_plugin("vlan", read); }

}  // namespace thalweg::cni
