// tap: the container's interface is a TAP device, to whose other end a program of the container's comes: a
// virtual machine, mostly.
#include "base/tap.h"

#include "cni-plugins/delegate.h"
#include "cni-plugins/mac.h"
#include "cni-plugins/plugins.h"
#include "cni-plugins/pod_link.h"

namespace thalweg::cni {

namespace {

struct Config {
  nl::Tap tap;
  uint32_t mtu = 0;
  std::optional<nl::Mac> mac;
  std::string bridge;  // of the container's, which it becomes a port of
};

std::optional<uint32_t> read_id(Fields& fields, std::string_view key) {
  const auto id = fields.number(key, 0, UINT32_MAX - 1);
  return id ? std::optional(static_cast<uint32_t>(*id)) : std::nullopt;
}

Outcome<Config> read_config(const Request& request, Fields& fields) {
  Config config {
    .tap = {.name = request.ifname,
            .multi_queue = fields.flag("multiQueue"),
            .owner = read_id(fields, "owner"),
            .group = read_id(fields, "group")},
    .mtu = static_cast<uint32_t>(fields.number("mtu", 0, 65'535).value_or(0)),
    .mac = TRY(read_mac(request, fields, fields.text("mac")))
    , .bridge = fields.text("bridge")
  };
  if (!config.bridge.empty() && !nl::is_link_name(config.bridge))
    fields.refuse("bridge", fmt::format("\"{}\" is no link's name", config.bridge));
  // The label would be that of a program started for this: none is.
  if (!fields.text("selinuxContext").empty() && request.verb == Verb::Add)
    return refuse(kUnsupportedField, "selinuxContext: SELinux labels of TAP devices are not set here");
  return config;
}

Outcome<> make(Places& at, const Config& config) {
  TRY(nl::create_tap(at.netns, config.tap));
  const uint32_t index = TRY(nl::link_by_name(at.pod, config.tap.name))
  .index;
  Undo undo([&] { (void)nl::delete_link(at.pod, index); });
  if (config.mtu) TRY(nl::set_mtu(at.pod, index, config.mtu));
  if (config.mac) TRY(nl::set_mac(at.pod, index, *config.mac));
  if (!config.bridge.empty())
    TRY(nl::set_master(at.pod, index, TRY(context(nl::link_by_name(at.pod, config.bridge), "bridge")).index));
  undo.keep();
  return {};
}

Outcome<> check(Places& at, const nl::Link& link, const Config& config) {
  const auto differs = [&](const char* what) {
    return refuse(kPluginFailure, fmt::format("{} has another {} than it should", link.name, what));
  };
  const nl::Tap tap = TRY(nl::tap_of(at.pod, link.index));
  if (tap.multi_queue != config.tap.multi_queue) return differs("multiQueue");
  if (tap.owner != config.tap.owner) return differs("owner");
  if (tap.group != config.tap.group) return differs("group");
  if (config.mtu && config.mtu != link.mtu) return differs("MTU");
  if (!config.bridge.empty() && TRY(nl::link_by_name(at.pod, config.bridge)).index != link.master)
    return differs("bridge");
  return {};
}

Outcome<PodLink> read(const Request& request) {
  Fields fields(request.config);
  const Config config = TRY(read_config(request, fields));
  PodLink link = read_pod_link(fields, "tun");
  TRY(fields.done());
  link.notify = !link.ipam.empty();
  link.make = [config](Places& at) { return make(at, config); };
  link.check = [config](Places& at, const nl::Link& have) { return check(at, have, config); };
  return link;
}

}  // namespace

Plugin tap_plugin() { return pod_link_plugin("tap", read); }

}  // namespace thalweg::cni
