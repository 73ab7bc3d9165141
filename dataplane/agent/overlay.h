// This node's place on the underlay and the host's leg into the path: a veth pair thalweg_host/thalweg_net,
// host routes to pods elsewhere and to services, forwarding (docs/decisions/0003). Kept by the agent.
#pragma once

#include <string>
#include <vector>

#include "base/link.h"
#include "base/netlink.h"
#include "dataplane/intent/compile.h"
#include "kube/cluster.h"

namespace thalweg::dataplane {

inline constexpr const char* kHostLink = "thalweg_host";  // where the host's routes point
inline constexpr const char* kNetLink = "thalweg_net";  // its other end: from_host decides at its tc ingress

// The interface named, or for an empty name the one that has one of the addresses.
Result<nl::Link> find_uplink(nl::Socket& socket, const std::string& name, const std::vector<Ip>& addresses);

struct HostLeg {
  nl::Link host;
  nl::Link net;
};
// Made if absent; its MACs come from the node's name, so they are the same after a restart.
Result<HostLeg> ensure_host_leg(nl::Socket& socket, const std::string& node_name, uint32_t mtu);

// Forwarding on, and what the host's leg needs; an uplink that learns routes from router advertisements goes
// on doing so although it forwards now. With direct routes its reverse-path filter is loose: a service's
// answer comes in there, but would be sent by the leg.
Result<> set_forwarding(const std::string& uplink, bool direct);

// What the host's routes should be: services by the leg, other nodes' pods as the tables send them, by the
// leg (tunnel) or by the node itself (direct). Nodes' ranges that would cover a node's own address are left
// out and named in refused: a Node object must not take the host off its network.
struct HostRoutes {
  std::vector<nl::Route> routes;
  std::vector<std::string> refused;
};
HostRoutes desired_routes(const kube::Store<kube::Node>& nodes, const Config& config);

// The gateway every route on the leg names; its MAC is the other end's, so no ARP and no ND.
std::vector<nl::Neighbour> leg_neighbours(const HostLeg& leg);

// The prefixes whose addresses are neighbours on the uplink: those of its own addresses.
Result<std::vector<Cidr>> segment_of(nl::Socket& socket, uint32_t uplink);

// For --cleanup: the leg and every route of ours go.
Result<> remove_overlay(nl::Socket& socket);

}  // namespace thalweg::dataplane
