// host-device: a device of the host becomes the container's, and comes back with DEL. Its name on the host
// goes with it as its alias.
#include <memory>

#include "base/link_move.h"
#include "cni-plugins/device.h"
#include "cni-plugins/plugins.h"
#include "cni-plugins/pod_link.h"

namespace thalweg::cni {

namespace {

// What takes it back if the ADD fails. A DEL does not know whether the device was up: then it stays down, as
// the reference leaves it.
struct Before {
  bool up = false;
};

Outcome<> move_in(Places& at, const Request& request, const Device& device, Before& before) {
  const nl::Link link = TRY(find_device(at.host, device));
  before.up = link.up;
  const auto moved = nl::move_link(at.host, {link.index, request.ifname, link.name}, at.netns);
  if (moved) return {};
  // The kernel moves first, and names then: it may be there under its old name.
  if (!nl::link_by_name(at.host, link.name))
    if (const auto there = nl::link_by_name(at.pod, link.name))
      if (const auto here = Netns::current())
        (void)nl::move_link(at.pod, {there->index, link.name, ""}, *here);
  return refuse(kPluginFailure, moved.error().message);
}

Outcome<> move_out(Places& at, const Request& request, const Before& before) {
  const auto link = nl::link_by_name(at.pod, request.ifname);
  if (!link && link.error().code == ENODEV) return {};
  const std::string name = TRY(nl::link_alias(at.pod, TRY(link).index));
  if (!nl::is_link_name(name))
    return refuse(kPluginFailure,
                  fmt::format("{} has no alias that tells its name on the host: it stays", request.ifname));
  if (nl::link_by_name(at.host, name))
    return refuse(kPluginFailure,
                  fmt::format("{} stays: the host has another {} by now", request.ifname, name));
  TRY(nl::move_link(at.pod, {link->index, name, ""}, TRY(Netns::current())));
  if (before.up) TRY(nl::set_up(at.host, TRY(nl::link_by_name(at.host, name)).index));
  return {};
}

Outcome<PodLink> read(const Request& request) {
  Fields fields(request.config);
  const Device device = read_device(fields);
  const bool of_network =
      request.verb == Verb::Gc || request.verb == Verb::Status;  // then no runtimeConfig comes
  if (!device.named() && !of_network)
    fields.refuse("device", "is missing, and so are hwaddr, kernelpath and pciBusID");
  PodLink link = read_pod_link(fields, "");
  TRY(fields.done());
  if (is_for_programs(device)) return link;
  const auto before = std::make_shared<Before>();
  link.make = [&request, device, before](Places& at) { return move_in(at, request, device, *before); };
  link.unmake = [&request, before](Places& at) { return move_out(at, request, *before); };
  return link;
}

}  // namespace

Plugin host_device_plugin() { return pod_link_plugin("host-device", read); }

}  // namespace thalweg::cni
