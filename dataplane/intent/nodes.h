// Nodes and links: this node's row, the routes to every node, the endpoints on this one. Pure; compile calls
// them.
#pragma once

#include "dataplane/intent/compile.h"
#include "dataplane/intent/fragment.h"

namespace thalweg::dataplane {

// own: this node's object, or nullptr while it is unknown.
Fragment node_fragment(const Config& config, const kube::Node* own);
// Routes to another node's pods and addresses.
Fragment peer_fragment(const Config& config, const kube::Node& node);
// The node's address of the family that is a neighbour here; none: its pods are reached by tunnel.
Ip direct_next_hop(const Config& config, const kube::Node& node, bool v4);
Fragment endpoint_fragment(const LocalPod& link, uint32_t rule_set);

// This node's addresses, as configured or else as its object says.
std::vector<Ip> own_addresses(const Config& config, const kube::Node* own);

}  // namespace thalweg::dataplane
