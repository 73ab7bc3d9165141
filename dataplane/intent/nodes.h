// Nodes and links: this node's row, the routes to every node, the endpoints on this one. Pure; compile calls
// them.
#pragma once

#include "dataplane/intent/compile.h"
#include "dataplane/intent/fragment.h"

namespace thalweg::dataplane {

// VXLAN: outer IPv4 20 or IPv6 40, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348).
inline constexpr uint32_t kTunnelBytes = 50, kTunnel6Bytes = 70;
// Largest inner packet where the underlay carries so much, bytes, at most 65535.
uint16_t inner_mtu(uint32_t underlay_mtu, uint32_t tunnel_bytes = kTunnelBytes);

// own: this node's object, or nullptr while it is unknown.
Fragment node_fragment(const Config& config, const kube::Node* own);
// Routes to another node's pods and addresses.
Fragment peer_fragment(const Config& config, const kube::Node& node);
// The node's address of the family that is a neighbour here; none: its pods are reached by tunnel.
Ip direct_next_hop(const Config& config, const kube::Node& node, bool v4);
// The largest packet to the node's pods, where that is less than what pods here send; 0: it is not.
uint16_t mtu_to_pods(const Config& config, const kube::Node& node, bool v4);
Fragment endpoint_fragment(const LocalPod& link, uint32_t rule_set);

// This node's addresses, as configured or else as its object says.
std::vector<Ip> own_addresses(const Config& config, const kube::Node* own);
// The first of each family.
std::vector<Ip> primary_addresses(const std::vector<Ip>& addresses);

}  // namespace thalweg::dataplane
