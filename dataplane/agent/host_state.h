// What this node's namespace should hold besides tables and programs: our routes, permanent neighbours, links
// that are up. HostKeeper makes it so and counts what somebody else had undone. Filled by overlay.h and
// pod_link.h; used by the agent.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/link.h"
#include "base/netlink.h"

namespace thalweg::dataplane {

struct HostLink {
  uint32_t index = 0;
  uint32_t mtu = 0;
};

struct HostState {
  std::vector<HostLink> links;            // ours, and up
  std::vector<nl::Route> routes;          // every route of ours in the main table
  std::vector<nl::Neighbour> neighbours;  // every permanent one on our links
};

struct Repairs {
  uint64_t links = 0, routes = 0, neighbours = 0, hooks = 0;
};

class HostKeeper {
 public:
  // Makes it so. What an earlier call had made and is no longer so, and what is ours but not wanted, is
  // repaired and counted. Links called tw… that are not in `desired` are pods' this agent does not know: it
  // leaves them alone.
  Result<> keep(nl::Socket& socket, const HostState& desired);

  // Whether a message of a route netlink group is about what is kept here.
  bool concerns(const nlmsghdr& message) const;
  // Whether it is about how peers are reached: the uplink, or others' routes.
  static bool concerns_underlay(const nlmsghdr& message, uint32_t uplink);

  Repairs repairs;

 private:
  Result<> keep_links(nl::Socket& socket, const HostState& desired);
  Result<> keep_routes(nl::Socket& socket, const HostState& desired);
  Result<> keep_neighbours(nl::Socket& socket, const HostState& desired);

  HostState made_;
  std::set<uint32_t> links_;    // indices of made_.links
  std::set<uint32_t> foreign_;  // links of pods this agent does not know
};

}  // namespace thalweg::dataplane
