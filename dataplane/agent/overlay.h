// This node's place on the underlay and the host's leg into the path: a veth pair thalweg_host/thalweg_net,
// host routes to pods elsewhere and to services, forwarding (docs/decisions/0003). Kept by the agent.
#pragma once

#include <string>
#include <vector>

#include "base/link.h"
#include "base/netlink.h"
#include "kube/cluster.h"

namespace thalweg::dataplane {

inline constexpr const char* kHostLink = "thalweg_host";  // where the host's routes point
inline constexpr const char* kNetLink = "thalweg_net";  // its other end: from_host decides at its tc ingress

// VXLAN over IPv4: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348).
inline constexpr uint32_t kTunnelBytes = 50;

// The interface named, or for an empty name the one that has one of the addresses.
Result<nl::Link> find_uplink(nl::Socket& socket, const std::string& name, const std::vector<Ip>& addresses);

// Largest inner packet over this uplink, bytes, at most 65535.
uint16_t inner_mtu(uint32_t uplink_mtu);

struct HostLeg {
  nl::Link host;
  nl::Link net;
};
// Made if absent; its MACs come from the node's name, so they are the same after a restart.
Result<HostLeg> ensure_host_leg(nl::Socket& socket, const std::string& node_name, uint32_t mtu);

// Forwarding on, and what the host's leg needs; an uplink that learns routes from router advertisements goes
// on doing so although it forwards now.
Result<> set_forwarding(const std::string& uplink);

// What the host's routes should be. Nodes' ranges that would cover a node's own address are left out and
// named in refused: a Node object must not take the host off its network.
struct HostRoutes {
  std::vector<nl::Route> routes;
  std::vector<std::string> refused;
};
HostRoutes desired_routes(const kube::Store<kube::Node>& nodes, const std::string& node_name,
                          const std::vector<Cidr>& service_cidrs, uint32_t leg);

// Makes the leg's routes so, and removes those of ours that are no longer wanted.
Result<> sync_routes(nl::Socket& socket, uint32_t leg, const std::vector<nl::Route>& desired);

// For --cleanup: the leg goes, and with it its routes.
Result<> remove_overlay(nl::Socket& socket);

}  // namespace thalweg::dataplane
