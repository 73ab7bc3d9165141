#include "dataplane/agent/host_state.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <algorithm>

namespace thalweg::dataplane {
namespace {

bool same_way(const nl::Route& a, const nl::Route& b) {
  return a.to == b.to && a.link == b.link && a.gateway == b.gateway && a.source == b.source &&
         a.mtu == b.mtu && a.blackhole == b.blackhole;
}

bool has(const std::vector<nl::Route>& routes, const nl::Route& route) {
  return std::any_of(routes.begin(), routes.end(),
                     [&](const nl::Route& one) { return same_way(one, route); });
}

bool has(const std::vector<nl::Neighbour>& neighbours, const nl::Neighbour& one) {
  return std::find(neighbours.begin(), neighbours.end(), one) != neighbours.end();
}

// Neighbours by link and address, whatever their MAC.
bool names(const std::vector<nl::Neighbour>& neighbours, const nl::Neighbour& one) {
  return std::any_of(neighbours.begin(), neighbours.end(), [&](const nl::Neighbour& other) {
    return other.ip == one.ip && other.link == one.link;
  });
}

}  // namespace

Result<> HostKeeper::keep(nl::Socket& socket, const HostState& desired) {
  TRY(keep_links(socket, desired));
  TRY(keep_routes(socket, desired));
  TRY(keep_neighbours(socket, desired));
  made_ = desired;
  return {};
}

Result<> HostKeeper::keep_links(nl::Socket& socket, const HostState& desired) {
  const auto before = links_;
  links_.clear();
  foreign_.clear();
  for (const HostLink& link : desired.links) links_.insert(link.index);
  for (const nl::Link& real : TRY(nl::links(socket))) {
    const auto wanted = std::find_if(desired.links.begin(), desired.links.end(),
                                     [&](const HostLink& one) { return one.index == real.index; });
    if (wanted == desired.links.end()) {
      if (real.name.starts_with("tw")) foreign_.insert(real.index);
      continue;
    }
    const bool resized = wanted->mtu != 0 && real.mtu != wanted->mtu;
    if (resized) TRY(nl::set_mtu(socket, real.index, wanted->mtu));
    if (!real.up) TRY(nl::set_up(socket, real.index));
    repairs.links += (resized || !real.up) && before.contains(real.index);
  }
  return {};
}

Result<> HostKeeper::keep_routes(nl::Socket& socket, const HostState& desired) {
  std::vector<nl::Route> standing, stale;
  for (const nl::Route& route : TRY(nl::routes(socket))) {
    if (route.protocol != nl::kProtocolThalweg || foreign_.contains(route.link)) continue;
    (has(desired.routes, route) ? standing : stale).push_back(route);
  }
  for (const nl::Route& route : desired.routes) {
    if (has(standing, route)) continue;
    TRY(context(nl::set_route(socket, route), "route {}", route.to.str()));
    repairs.routes += has(made_.routes, route);
  }
  for (const nl::Route& route : stale) {  // one that was replaced above is absent by now: no error
    TRY(context(nl::delete_route(socket, route), "route {}", route.to.str()));
    repairs.routes += !has(made_.routes, route);  // nobody of ours has put it there
  }
  return {};
}

Result<> HostKeeper::keep_neighbours(nl::Socket& socket, const HostState& desired) {
  std::vector<nl::Neighbour> standing, stale;
  for (const nl::Neighbour& one : TRY(nl::neighbours(socket))) {
    if (!links_.contains(one.link) || !one.permanent) continue;
    if (has(desired.neighbours, one))
      standing.push_back(one);
    else if (!names(desired.neighbours, one))
      stale.push_back(one);
  }
  for (const nl::Neighbour& one : desired.neighbours) {
    if (has(standing, one)) continue;
    TRY(nl::set_neighbour(socket, one));
    repairs.neighbours += has(made_.neighbours, one);
  }
  for (const nl::Neighbour& one : stale) {
    TRY(nl::delete_neighbour(socket, one));
    repairs.neighbours += !has(made_.neighbours, one);
  }
  return {};
}

bool HostKeeper::concerns(const nlmsghdr& message) const {
  const void* payload = mnl_nlmsg_get_payload(&message);
  switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: return links_.contains(static_cast<const ifinfomsg*>(payload)->ifi_index);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: return links_.contains(static_cast<const ndmsg*>(payload)->ndm_ifindex);
    case RTM_NEWROUTE:
    case RTM_DELROUTE: return static_cast<const rtmsg*>(payload)->rtm_protocol == nl::kProtocolThalweg;
    case RTM_NEWADDR:
    case RTM_DELADDR: return true;
    default: return false;
  }
}

bool HostKeeper::concerns_underlay(const nlmsghdr& message, uint32_t uplink) {
  const void* payload = mnl_nlmsg_get_payload(&message);
  switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return static_cast<uint32_t>(static_cast<const ifinfomsg*>(payload)->ifi_index) == uplink;
    case RTM_NEWROUTE:
    case RTM_DELROUTE: return static_cast<const rtmsg*>(payload)->rtm_protocol != nl::kProtocolThalweg;
    default: return false;
  }
}

}  // namespace thalweg::dataplane
