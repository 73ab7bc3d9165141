// macvlan: the container's interface is a link upon one of the host's, with a MAC address of its own.
#include <algorithm>

#include "cni-plugins/mac.h"
#include "cni-plugins/master.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace {

constexpr std::pair<std::string_view, nl::MacvlanMode> kModes[] = {{"bridge", nl::MacvlanMode::Bridge},
                                                                   {"private", nl::MacvlanMode::Private},
                                                                   {"vepa", nl::MacvlanMode::Vepa},
                                                                   {"passthru", nl::MacvlanMode::Passthru}};

struct Config {
  Master master;
  nl::MacvlanMode mode = nl::MacvlanMode::Bridge;
  std::optional<uint32_t> queue;
  std::optional<nl::Mac> mac;
};

nl::MacvlanMode read_mode(Fields& fields) {
  const std::string name = fields.text("mode");
  for (const auto& [known, mode] : kModes)
    if (name == known || name.empty()) return mode;
  fields.refuse("mode", fmt::format("\"{}\" is none of bridge, private, vepa, passthru", name));
  return {};
}

std::string_view name_of(nl::MacvlanMode mode) {
  const auto it = std::find_if(std::begin(kModes), std::end(kModes),
                               [&](const auto& each) { return each.second == mode; });
  return it == std::end(kModes) ? "unknown" : it->first;
}

Outcome<> check_mode(nl::Socket& pod, const nl::Link& link, nl::MacvlanMode mode) {
  const auto have = TRY(nl::macvlan_mode(pod, link.index));
  if (have == mode) return {};
  return refuse(kPluginFailure,
                fmt::format("{} has the mode {}, not {}", link.name, name_of(have), name_of(mode)));
}

Outcome<PodLink> read(const Request& request) {
  Fields fields(request.config);
  Config config{.master = read_master(fields), .mode = read_mode(fields), .queue = {}, .mac = {}};
  if (const auto queue = fields.number("bcqueuelen", 0, UINT32_MAX); queue.value_or(0) != 0)
    config.queue = static_cast<uint32_t>(*queue);
  config.mac = TRY(read_mac(request, fields, fields.text("mac")));
  PodLink link = read_pod_link(fields, "macvlan");
  TRY(fields.done());
  link.notify = !link.ipam.empty();
  link.make = [&request, config](Places& at) {
    return make_upon(at, request, config.master, {.mac = config.mac}, [&](const nl::NewLink& made) {
      return nl::macvlan_request(made, config.mode, config.queue);
    });
  };
  link.check = [config](Places& at, const nl::Link& have) -> Outcome<> {
    TRY(check_upon(at, config.master, have));
    return check_mode(at.pod, have, config.mode);
  };
  return link;
}

}  // namespace

Plugin macvlan_plugin() { return pod_link_plugin("macvlan", read); }

}  // namespace thalweg::cni
