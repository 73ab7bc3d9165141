#include "cni-plugins/master.h"

#include "cni-plugins/delegate.h"
#include "cni-plugins/pod_interface.h"

namespace thalweg::cni {

namespace {

Outcome<nl::Link> find_master(Places& at, const Master& wanted) {
  nl::Socket& socket = wanted.in_container ? at.pod : at.host;
  if (!wanted.name.empty()) return TRY(context(nl::link_by_name(socket, wanted.name), "master"));
  for (const nl::Route& route : TRY(nl::routes(socket)))
    if (route.to.family_length() == 0 && route.link != 0) return TRY(nl::link_by_index(socket, route.link));
  return refuse(kPluginFailure, "master: none is named, and there is no default route");
}

}  // namespace

Master read_master(Fields& fields) {
  Master wanted{.name = fields.text("master"),
                .in_container = fields.flag("linkInContainer"),
                .mtu = static_cast<uint32_t>(fields.number("mtu", 0, 65'535).value_or(0))};
  if (!wanted.name.empty() && !nl::is_link_name(wanted.name))
    fields.refuse("master", fmt::format("\"{}\" is no link's name", wanted.name));
  return wanted;
}

// Under a name of this attachment's own first: a name that the master's namespace has is refused, even if it
// is to be another's.
Outcome<> make_upon(Places& at, const Request& request, const Master& wanted, nl::NewLink link,
                    const std::function<nl::Message(const nl::NewLink&)>& say) {
  const nl::Link master = TRY(find_master(at, wanted));
  if (wanted.mtu > master.mtu)
    return refuse(kInvalidConfig,
                  fmt::format("mtu: {} is more than {}'s, {}", wanted.mtu, master.name, master.mtu));
  link.name = passing_name(request);
  link.on = master.index;
  link.mtu = wanted.mtu;
  link.netns = &at.netns;
  TRY(nl::create_link(wanted.in_container ? at.pod : at.host, link, say(link)));
  Undo undo([&] { (void)nl::delete_link(at.pod, link.name); });
  TRY(nl::rename(at.pod, TRY(nl::link_by_name(at.pod, link.name)).index, request.ifname));
  undo.keep();
  return {};
}

Outcome<> check_upon(Places& at, const Master& wanted, const nl::Link& link) {
  if (!wanted.name.empty())
    if (const nl::Link master = TRY(find_master(at, wanted)); link.peer != master.index)
      return refuse(kPluginFailure,
                    fmt::format("{} stands upon another link than {}", link.name, master.name));
  if (wanted.mtu != 0 && wanted.mtu != link.mtu)
    return refuse(kPluginFailure, fmt::format("{} has the MTU {}, not {}", link.name, link.mtu, wanted.mtu));
  return {};
}

}  // namespace thalweg::cni
